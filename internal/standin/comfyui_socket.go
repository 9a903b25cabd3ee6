package standin

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// maxUnread bounds the frames that wait for one client. Who lags further behind
// is cut off.
const maxUnread = 1024

// socket is a client that listens to what becomes of jobs.
type socket struct {
	id     string
	frames chan frame
	drop   func() // closes the connection
	behind bool   // it was dropped
}

// The events that a socket is told.
type (
	event struct {
		Type string `json:"type"`
		Data any    `json:"data"`
	}
	queueStatus struct {
		Status struct {
			ExecInfo execInfo `json:"exec_info"`
		} `json:"status"`
		SID string `json:"sid,omitempty"`
	}
	moment struct {
		PromptID  string `json:"prompt_id"`
		Timestamp int64  `json:"timestamp"` // Unix milliseconds
	}
	cachedNodes struct {
		Nodes     []string `json:"nodes"`
		PromptID  string   `json:"prompt_id"`
		Timestamp int64    `json:"timestamp"`
	}
	executing struct {
		Node        *string `json:"node"` // null: the job is over
		DisplayNode string  `json:"display_node,omitempty"`
		PromptID    string  `json:"prompt_id"`
	}
	progress struct {
		Value    int    `json:"value"`
		Max      int    `json:"max"`
		PromptID string `json:"prompt_id"`
		Node     string `json:"node"`
	}
	executed struct {
		Node        string    `json:"node"`
		DisplayNode string    `json:"display_node"`
		Output      jobOutput `json:"output"`
		PromptID    string    `json:"prompt_id"`
	}
	interrupted struct {
		PromptID  string   `json:"prompt_id"`
		NodeID    string   `json:"node_id"`
		NodeType  string   `json:"node_type"`
		Executed  []string `json:"executed"`
		Timestamp int64    `json:"timestamp"`
	}
	jobOutput struct {
		Images []jobImage `json:"images"`
	}
	jobImage struct {
		Filename  string `json:"filename"`
		Subfolder string `json:"subfolder"`
		Type      string `json:"type"`
	}
)

// output returns what the named one of the job's outputs has.
func (j *job) output(id string) jobOutput {
	n := j.picture
	for _, o := range j.outputs {
		if o == id {
			break
		}
		n++
	}
	return jobOutput{[]jobImage{{fmt.Sprintf("ComfyUI_%05d_.png", n), "", "output"}}}
}

// tell sends an event to the client of a job, if it listens. It requires that
// q.mu is held.
func (q *jobs) tell(j *job, kind string, data any) {
	if s := q.sockets[j.client]; s != nil {
		s.tell(kind, data)
	}
}

// tellExecuting requires that q.mu is held.
func (q *jobs) tellExecuting(j *job) {
	id := j.nodes[j.at].id
	q.tell(j, "executing", executing{&id, id, j.id})
}

// tellStatus sends all clients the length of the queue. It requires that q.mu is
// held.
func (q *jobs) tellStatus() {
	var status queueStatus
	status.Status.ExecInfo = q.remaining()
	for _, s := range q.sockets {
		s.tell("status", status)
	}
}

// tell sends an event, or cuts the client off that has left too many unread. It
// requires that q.mu is held.
func (s *socket) tell(kind string, data any) {
	payload, err := json.Marshal(event{kind, data})
	if err != nil || s.behind {
		return // all events marshal
	}
	select {
	case s.frames <- frame{final: true, opcode: opText, payload: payload}:
	default:
		s.behind = true
		s.drop()
	}
}

// open lets a client listen, in the place of the one that had its id, and greets
// it. It must be closed. drop closes its connection, without waiting.
func (q *jobs) open(now time.Time, id string, drop func()) *socket {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(now)
	s := &socket{id: id, frames: make(chan frame, maxUnread), drop: drop}
	q.sockets[id] = s
	status := queueStatus{SID: id}
	status.Status.ExecInfo = q.remaining()
	s.tell("status", status)
	if j := q.running; j != nil && j.client == id {
		q.tellExecuting(j)
	}
	return s
}

func (q *jobs) close(s *socket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sockets[s.id] == s {
		delete(q.sockets, s.id)
	}
}

// look does what is due, and returns for how long nothing else is; negative: until
// turned is closed.
func (q *jobs) look() (wait time.Duration, turned <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.advance(now)
	due, ok := q.due()
	if !ok {
		return -1, q.turned
	}
	return due.Sub(now), q.turned
}

// socket serves /ws: with clientId as ComfyUI does, without it an echo.
func (w *Worker) socket(a *answer, r *http.Request) {
	id := r.URL.Query().Get("clientId")
	rw, done := upgrade(a, r)
	if rw == nil {
		return
	}
	defer done()
	if id == "" {
		echoFrames(rw)
		return
	}
	s := w.jobs.open(time.Now(), id, done)
	defer w.jobs.close(s)
	left, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		s.listen(rw.Reader, left)
	}()
	w.jobs.serve(s, rw.Writer, read)
	done() // so that the reader ends
	close(left)
	<-read
}

// listen reads what the client sends, of which pings are answered alone, until it
// closes the connection or left is closed.
func (s *socket) listen(r *bufio.Reader, left <-chan struct{}) {
	for {
		f, err := readFrame(r)
		var broken protocolError
		switch {
		case errors.As(err, &broken):
			f = closeFrame(uint16(broken))
		case err != nil:
			return
		case f.opcode == opPing:
			f.opcode = opPong
		case f.opcode != opClose:
			continue
		}
		select {
		case s.frames <- f:
		case <-left:
			return
		}
		if f.opcode == opClose {
			<-left
			return
		}
	}
}

// serve writes what the client is told, until it closes the connection, has gone
// or was dropped.
func (q *jobs) serve(s *socket, w *bufio.Writer, gone <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, turned := q.look()
		var due <-chan time.Time
		if wait >= 0 {
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case f := <-s.frames:
			if writeFrame(w, f) != nil || w.Flush() != nil || f.opcode == opClose {
				return
			}
		case <-due:
		case <-turned:
		case <-gone:
			return
		}
	}
}
