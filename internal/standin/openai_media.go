package standin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"image"
	"image/png"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
)

// The sizes of media.
const (
	recordingToken = 3200 // bytes of a recording: a tenth of a second of 16-bit sound at 16 kHz
	speechToken    = 64   // bytes of speech for each byte of a token's text
	maxImages      = 10   // n of images
)

// speech serves /v1/audio/speech: bytes that come as they are made, of no format.
// Their tokens are counted, and reported nowhere.
func (w *Worker) speech(a *answer, _ *http.Request) { w.generate(a, "", speech{}) }

type speech struct{}

func (speech) ask(c *call) error {
	input, err := c.fields.text("input")
	if err != nil {
		return err
	}
	if input == "" {
		return badRequest("input", "input must be the text to speak.")
	}
	c.setInput(c.worker.tokens.count(int64(len(input))))
	c.setAnswers(1, math.MaxInt64)
	c.stream, c.streamType = true, "audio/mpeg"
	return nil
}

func (speech) body(*call) any    { return nil } // it always streams
func (speech) begin(*call) error { return nil }

func (speech) token(c *call, _ int, text string) error {
	return c.answer.chunk(bytes.Repeat([]byte(text), speechToken))
}

func (speech) stop(*call, int) error { return nil }
func (speech) end(*call) error       { return nil }

// transcriptions serves /v1/audio/transcriptions, whose body is a form.
func (w *Worker) transcriptions(a *answer, r *http.Request) {
	body, err := readBody(a)
	var f fields
	var recording int64
	if err == nil {
		f, recording, err = parseForm(r.Header.Get("Content-Type"), body)
	}
	var c *call
	if err == nil {
		c, err = w.newCallOf(a, "", body, f)
	}
	c.serve(a, transcription{recording: (recording + recordingToken - 1) / recordingToken}, err)
}

// parseForm reads the fields of a form and the size of its file.
func parseForm(contentType string, body []byte) (fields, int64, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/form-data" {
		return nil, 0, badRequest("", "The request body must be multipart/form-data.")
	}
	f, size := fields{}, int64(-1)
	for parts := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		var value []byte
		if err == nil {
			value, err = io.ReadAll(part)
		}
		if err != nil {
			return nil, 0, badRequest("", "The request body is not a form: %v.", err)
		}
		if part.FormName() == "file" {
			size = int64(len(value))
		} else {
			f[part.FormName()] = string(value)
		}
	}
	if size < 0 {
		return nil, 0, badRequest("file", "file must be the recording.")
	}
	return f, size, nil
}

// transcription is the shape of a transcription.
type transcription struct {
	unstreamed
	recording int64 // tokens
}

type transcriptionBody struct {
	Text  string          `json:"text"`
	Usage json.RawMessage `json:"usage,omitempty"`
}

func (s transcription) ask(c *call) error {
	prompt, _ := c.fields["prompt"].(string) // of a form, where all is text
	c.setInput(s.recording + c.worker.tokens.count(int64(len(prompt))))
	c.setAnswers(1, math.MaxInt64)
	return nil
}

func (s transcription) body(c *call) any {
	var u struct {
		Type    string `json:"type"`
		Input   figure `json:"input_tokens"`
		Details struct {
			Text  figure `json:"text_tokens"`
			Audio figure `json:"audio_tokens"`
		} `json:"input_token_details"`
		Output figure `json:"output_tokens"`
		Total  figure `json:"total_tokens"`
	}
	u.Type, u.Input, u.Output, u.Total = "tokens", c.figure(c.input), c.figure(c.made()), c.figure(c.input+c.made())
	u.Details.Text, u.Details.Audio = c.figure(c.input-s.recording), c.figure(s.recording)
	return transcriptionBody{strings.TrimSpace(c.choices[0].text.String()), c.report(u)}
}

// images serves /v1/images/generations.
func (w *Worker) images(a *answer, _ *http.Request) { w.generate(a, "", drawing{}) }

// drawing is the shape of images. Each is one of its choices.
type drawing struct{ unstreamed }

type drawingBody struct {
	Created int64           `json:"created"`
	Data    []drawnImage    `json:"data"`
	Usage   json.RawMessage `json:"usage,omitempty"`
}

type drawnImage struct {
	Base64 string `json:"b64_json"`
}

func (drawing) ask(c *call) error {
	prompt, err := c.fields.text("prompt")
	if err != nil {
		return err
	}
	if prompt == "" {
		return badRequest("prompt", "prompt must be the text to draw.")
	}
	n, err := c.fields.count("n", 1, maxImages)
	if err != nil {
		return err
	}
	c.setInput(c.worker.tokens.count(int64(len(prompt))))
	c.setAnswers(n, math.MaxInt64)
	return nil
}

func (drawing) body(c *call) any {
	var u struct {
		Input   figure `json:"input_tokens"`
		Details struct {
			Text  figure `json:"text_tokens"`
			Image figure `json:"image_tokens"`
		} `json:"input_tokens_details"`
		Output figure `json:"output_tokens"`
		Total  figure `json:"total_tokens"`
	}
	u.Input, u.Output, u.Total = c.figure(c.input), c.figure(c.made()), c.figure(c.input+c.made())
	u.Details.Text, u.Details.Image = c.figure(c.input), c.figure(0)
	b := drawingBody{Created: c.created.Unix(), Usage: c.report(u)}
	for i := range c.choices {
		b.Data = append(b.Data, drawnImage{base64.StdEncoding.EncodeToString(drawImage(c.choices[i].text.String()))})
	}
	return b
}

// drawImage returns a small PNG of the text's bytes.
func drawImage(text string) []byte {
	picture := image.NewGray(image.Rect(0, 0, 8, 8))
	copy(picture.Pix, text)
	var b bytes.Buffer
	// Uncompressed, it has the same bytes whoever compiles it; a buffer takes all.
	_ = (&png.Encoder{CompressionLevel: png.NoCompression}).Encode(&b, picture)
	return b.Bytes()
}

// unstreamed is what a shape embeds whose answers never are streams.
type unstreamed struct{}

func (unstreamed) begin(*call) error              { return nil }
func (unstreamed) token(*call, int, string) error { return nil }
func (unstreamed) stop(*call, int) error          { return nil }
func (unstreamed) end(*call) error                { return nil }
