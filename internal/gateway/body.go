package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
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

// readBody reads the body of a metered request, within its bounds of size, time
// and memory.
func (x *exchange) readBody() ([]byte, *reply.Denial) {
	for _, e := range x.r.Header["Content-Encoding"] {
		if e != "" && !strings.EqualFold(strings.TrimSpace(e), "identity") {
			return nil, &reply.Denial{Code: reply.UnsupportedEncoding}
		}
	}
	length, most := x.r.ContentLength, x.rules.MaxBody
	if length > most {
		return nil, tooLarge(most)
	}
	control := http.NewResponseController(x.w)
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	first, whole := int64(firstRead), most+1
	if length >= 0 {
		first, whole = length+1, length+1
	}
	// A length is only a promise: room is made for what may come next, and
	// doubled as it comes.
	buf := make([]byte, 0, min(first, bodyStep))
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
			return nil, &reply.Denial{Code: reply.InvalidRequest, Message: "The request body was cut off. Send it again, whole."}
		}
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(2*int64(cap(buf)), whole))
			copy(grown, buf)
			buf = grown
		}
	}
}

func tooLarge(most int64) *reply.Denial {
	return &reply.Denial{Code: reply.BodyTooLarge, Message: fmt.Sprintf("The request body is larger than the %d bytes that are taken.", most)}
}

// buffer makes the request hold so many bytes of what all requests may hold
// together, and reports whether they are to be had.
func (x *exchange) buffer(bytes int64) bool {
	more := bytes - x.buffered
	if more <= 0 {
		return true
	}
	if x.g.buffered.Add(more) > x.rules.MaxBuffered {
		x.g.buffered.Add(-more)
		return false
	}
	x.buffered = bytes
	return true
}

// unbuffer gives back what buffer took.
func (x *exchange) unbuffer() {
	x.g.buffered.Add(-x.buffered)
	x.buffered = 0
}

// upload is the body of a request that is passed on unread, within its bounds
// of size and time. Only the time that the client takes counts, not that of the
// worker. Once it is closed nothing reads the client's body any more, however
// long the transport holds on to it.
type upload struct {
	body    io.ReadCloser
	control *http.ResponseController
	most    int64

	reading sync.Mutex // held while the client's body is read
	read    int64
	took    time.Duration
	done    bool // it was read to its end

	deadline sync.Mutex // held while the deadline of a read is set
	closed   bool
}

// uploadError is why an upload was broken off.
type uploadError struct{ denial reply.Denial }

func (e *uploadError) Error() string { return "upload: " + e.denial.Code.String() }

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	u.reading.Lock()
	defer u.reading.Unlock()
	began := time.Now()
	if !u.begin(began.Add(bodyDeadline(u.read) - u.took)) {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := u.body.Read(p)
	u.begin(time.Time{})
	u.took += time.Since(began)
	u.read += int64(n)
	switch {
	case u.read > u.most:
		return 0, &uploadError{*tooLarge(u.most)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, &uploadError{reply.Denial{Code: reply.BodyTooSlow}}
	}
	u.done = u.done || err == io.EOF
	return n, err
}

// begin sets the deadline of a read, unless the upload was closed.
func (u *upload) begin(deadline time.Time) bool {
	u.deadline.Lock()
	defer u.deadline.Unlock()
	if !u.closed {
		_ = u.control.SetReadDeadline(deadline) // none where there is no connection
	}
	return !u.closed
}

// Close ends a read that is under way, and makes it the last.
func (u *upload) Close() error {
	u.deadline.Lock()
	u.closed = true
	err := u.control.SetReadDeadline(time.Unix(1, 0))
	u.deadline.Unlock()
	if err == nil {
		u.reading.Lock()
		defer u.reading.Unlock()
	}
	return nil
}

// What is left of a body that nobody reads is waited for this long and no
// longer, and up to this size, so that the connection can serve another
// request.
const (
	drainTime  = 5 * time.Second
	drainBytes = 64 << 10
)

// drain reads what is left of the client's body after the answer. Where that is
// too much, or does not come, the connection is cut: what still comes would be
// taken for another request.
func (x *exchange) drain() {
	switch {
	case x.r.ProtoMajor != 1 || x.r.ContentLength == 0 || x.body != nil || x.cut || x.status == http.StatusSwitchingProtocols,
		x.upload != nil && x.upload.done,
		x.r.Header.Get("Expect") != "": // the server closes the connection by itself
		return
	}
	control := http.NewResponseController(x.w)
	if control.Flush() != nil || control.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return // not a connection
	}
	if _, err := io.CopyN(io.Discard, x.r.Body, drainBytes); err != io.EOF {
		panic(http.ErrAbortHandler)
	}
}
