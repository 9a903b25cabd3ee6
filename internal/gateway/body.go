package gateway

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-dev/penstock/internal/reply"
)

// A body has 30 seconds, and a second more for each 64 KiB that has come.
const (
	bodyTime     = 30 * time.Second
	bodyTimeEach = time.Second
	bodyTimeFor  = 64 << 10
)

// bodyDeadline is how long after its begin a body may have taken of which so
// many bytes have come.
func bodyDeadline(bytes int64) time.Duration {
	return bodyTime + time.Duration(bytes/bodyTimeFor)*bodyTimeEach
}

// firstRead is how much is made room for when the length is not known, and
// bodyStep how much is read between two looks at the clock.
const (
	firstRead = 8 << 10
	bodyStep  = 1 << 20
)

// readBody reads the body of a request, within its bounds of size, time and memory.
// That of a metered one must not be encoded, nor written in another charset.
func (x *exchange) readBody() (body []byte, problem *reply.Denial) {
	for _, e := range x.r.Header["Content-Encoding"] {
		if x.counted && e != "" && !strings.EqualFold(strings.TrimSpace(e), "identity") {
			return nil, &reply.Denial{Code: reply.UnsupportedEncoding}
		}
	}
	if x.counted && slices.ContainsFunc(x.r.Header["Content-Type"], inOtherCharset) {
		return nil, &reply.Denial{Code: reply.UnsupportedEncoding, Message: "The request body must be UTF-8. Send it so, and name no other charset in Content-Type."}
	}
	length, most := x.r.ContentLength, x.rules.MaxBody
	control := http.NewResponseController(x.w)
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	first, whole := int64(firstRead), most+1
	if length >= 0 {
		first, whole = length+1, length+1
	}
	// A length is only a promise: room is made for what may come next, and
	// doubled as it comes.
	buf := x.g.bodies.get(min(first, bodyStep))
	defer func() {
		if problem != nil {
			x.g.bodies.put(buf)
		}
	}()
	for {
		if !x.buffer(int64(cap(buf))) {
			return nil, &reply.Denial{Code: reply.Overloaded}
		}
		// Where there is no deadline to set (not a connection), there is none.
		_ = control.SetReadDeadline(x.began.Add(bodyDeadline(int64(len(buf)))))
		n, err := x.r.Body.Read(buf[len(buf):min(cap(buf), len(buf)+bodyStep)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > most:
			return nil, tooLarge(most)
		case err == io.EOF:
			return buf, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, &reply.Denial{Code: reply.BodyTooSlow}
		case err != nil:
			return nil, &reply.Denial{Code: reply.InvalidRequest, Message: bodyCutOff}
		}
		if len(buf) == cap(buf) {
			grown := append(x.g.bodies.get(min(2*int64(cap(buf)), max(whole, int64(cap(buf))+1))), buf...)
			x.g.bodies.put(buf)
			buf = grown
		}
	}
}

// inOtherCharset reports whether a Content-Type says that JSON is in a charset that
// is not UTF-8 (RFC 8259 knows no other), or says so in a way that is not clear.
// There are workers that read it as it says: in UTF-7 the letters +ACI- are a quote,
// so that they see fields where others see text.
func inOtherCharset(contentType string) bool {
	if !strings.Contains(strings.ToLower(contentType), "charset") {
		return false
	}
	_, params, err := mime.ParseMediaType(contentType)
	switch strings.ToLower(params["charset"]) {
	case "utf-8", "utf8", "us-ascii", "ascii":
		return err != nil
	}
	return true
}

const bodyCutOff = "The request body was cut off. Send it again, whole."

func tooLarge(most int64) *reply.Denial {
	return &reply.Denial{Code: reply.BodyTooLarge, Message: fmt.Sprintf("The request body is larger than the %d bytes that are taken.", most)}
}

// buffer makes the request hold so many bytes of what all requests may hold
// together, and reports whether they are to be had. A request that is alone may
// have them: its body is no larger than one may be, what is lent for it may be, and
// it would be told to come again without end.
func (x *exchange) buffer(bytes int64) bool {
	more := bytes - x.buffered
	if more <= 0 {
		return true
	}
	if all := x.g.buffered.Add(more); all > x.rules.MaxBuffered && all > bytes {
		x.g.buffered.Add(-more)
		return false
	}
	x.buffered = bytes
	return true
}

// letGo gives the memory of the body back once nobody reads it any more, which
// may be some time after the worker has answered. Where nobody will know when that
// is, it is left to the collector: an answer may last for long.
func (x *exchange) letGo() {
	if x.lent == nil {
		return
	}
	switch {
	case x.body.Free():
		x.g.bodies.put(x.lent)
	case !x.body.Lost():
		return
	}
	x.body.Hold(nil)
	x.lent = nil
}

// unbuffer gives back what buffer took.
func (x *exchange) unbuffer() {
	x.g.buffered.Add(-x.buffered)
	x.buffered = 0
}

// upload is the body of a request that is passed on unread, within its bounds
// of size and time. Only the time that the client takes counts, not that of the
// worker.
type upload struct {
	from    *http.Request
	control *http.ResponseController
	most    int64
	trailer http.Header // of the request to the worker: filled in at the end

	handedBack atomic.Bool // the transport has closed it

	reading sync.Mutex // held while the client's body is read
	read    int64
	took    time.Duration

	mu     sync.Mutex // guards what follows
	done   bool       // it was read to its end
	closed bool
}

// uploadError is why an upload was broken off.
type uploadError struct{ denial reply.Denial }

func (e *uploadError) Error() string { return "upload: " + e.denial.Code.String() }

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	u.reading.Lock()
	defer u.reading.Unlock()
	began := time.Now()
	if u.handedBack.Load() || !u.begin(began.Add(bodyDeadline(u.read)-u.took)) {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := u.from.Body.Read(p)
	u.took += time.Since(began)
	u.read += int64(n)
	if err == io.EOF && u.trailer != nil {
		maps.Copy(u.trailer, u.from.Trailer)
		maps.DeleteFunc(u.trailer, notInTrailer)
	}
	u.end(err == io.EOF)
	switch {
	case u.read > u.most:
		return 0, &uploadError{*tooLarge(u.most)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, &uploadError{reply.Denial{Code: reply.BodyTooSlow}}
	case err != nil && err != io.EOF:
		return n, &uploadError{reply.Denial{Code: reply.InvalidRequest, Message: bodyCutOff}}
	}
	return n, err
}

// begin sets the deadline of a read, unless the upload was closed.
func (u *upload) begin(deadline time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		_ = u.control.SetReadDeadline(deadline) // none where there is no connection
	}
	return !u.closed
}

// end takes the deadline of a read away, unless the upload was closed: then the
// deadline is no longer its own.
func (u *upload) end(done bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.done = done
		_ = u.control.SetReadDeadline(time.Time{})
	}
}

// whole reports whether the body was read to its end.
func (u *upload) whole() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.done
}

// Close implements io.Closer, for the transport, which reads no more. The client's
// body stays as it is.
func (u *upload) Close() error {
	u.handedBack.Store(true)
	return nil
}

// stop ends reading. A read that is under way goes on, but is the last.
func (u *upload) stop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
}

// What is left of a small body that nobody reads is waited for, but no longer
// than drainTime, so that the connection can serve another request. Where the
// connection ends anyway, the client is listened to for lingerTime, as it may
// lose the answer when it is cut off while it sends.
const (
	drainBytes = 256 << 10
	drainTime  = 5 * time.Second
	lingerTime = 500 * time.Millisecond
)

// close tells the client, with an answer that begins now, that the connection
// ends with it, where what still comes of the body may be too much to wait for:
// it would be taken for another request.
func (x *exchange) close() {
	switch {
	case x.r.ProtoMajor != 1 || x.r.ContentLength == 0 || x.read:
		return
	case x.upload != nil && x.upload.whole():
		return
	case x.upload == nil && !x.cut && 0 < x.r.ContentLength && x.r.ContentLength <= drainBytes:
		return // drained
	}
	x.closing = true
	x.w.Header().Set("Connection", "close")
}

// drain deals with what is left of the client's body after the answer. No read
// of it may be under way when net/http has the connection back.
func (x *exchange) drain() {
	u := x.upload
	if u != nil {
		u.stop() // the transport may hold on to it
	}
	if x.r.ProtoMajor != 1 || x.r.ContentLength == 0 || x.read || x.status == http.StatusSwitchingProtocols || u != nil && u.whole() {
		return
	}
	control := http.NewResponseController(x.w)
	// The server says by itself that the connection ends, to who asks whether
	// to send the body.
	ends := x.closing || x.r.Header.Get("Expect") != "" && x.r.ProtoAtLeast(1, 1)
	until := time.Now().Add(drainTime)
	switch {
	case x.aborted:
		until = time.Unix(1, 0)
	case ends:
		until = time.Now().Add(lingerTime)
	}
	if !x.aborted && control.Flush() != nil || control.SetReadDeadline(until) != nil {
		return // not a connection
	}
	if u != nil {
		u.reading.Lock()
		defer u.reading.Unlock()
	}
	if x.aborted {
		return
	}
	if ends {
		// net/http reads on until the deadline only where it was not for the
		// client that the connection ends.
		if x.r.Close {
			_, _ = io.Copy(io.Discard, x.r.Body)
		}
		return
	}
	if _, err := io.CopyN(io.Discard, x.r.Body, drainBytes+1); err != io.EOF {
		panic(http.ErrAbortHandler)
	}
}
