// Package admin is the operator's port: health, metrics, reload and the workers.
// It is never
// the gateway's own.
package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Options are what the port serves.
type Options struct {
	// Token opens everything to whoever shows it as a bearer. Empty: a loopback
	// peer that calls us by a loopback name needs none, and nobody else enters.
	Token string
	// Ready is nil when requests can be served, else says why not.
	Ready func() error
	// Metrics answers scrapes.
	Metrics http.Handler
	// Reload reads the configuration again; its error says what is wrong with
	// it, and then nothing has changed.
	Reload func() error
	// Workers are shown and changed.
	Workers Workers
}

// New returns the port's handler. It may be called by any number of goroutines.
func New(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Ready(); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	mux.Handle("GET /metrics", o.Metrics)
	g := guard{digest: sha256.Sum256([]byte(o.Token)), token: o.Token != ""}
	mux.HandleFunc("POST /-/reload", g.change(func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Reload(); err != nil {
			answer(w, http.StatusBadRequest, err.Error())
			return
		}
		answer(w, http.StatusOK, "reloaded")
	}))
	mux.HandleFunc("GET /workers", g.enter(o.Workers.list))
	mux.HandleFunc("POST /workers", g.change(o.Workers.change))
	mux.HandleFunc("/", g.enter(func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusNotFound, "there is GET /healthz, /readyz, /metrics and /workers, and POST /-/reload and /workers")
	}))
	return mux
}

// answer writes a status with its words as JSON.
func answer(w http.ResponseWriter, status int, words string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	field := "status"
	if status >= 400 {
		field = "error"
	}
	_ = json.NewEncoder(w).Encode(map[string]string{field: words})
}

// guard lets in who may enter.
type guard struct {
	digest [sha256.Size]byte
	token  bool
}

// enter guards a handler that only looks.
func (g *guard) enter(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if g.shown(r) || !g.token && local(r) {
			next(w, r)
			return
		}
		g.refuse(w)
	}
}

// change guards a handler that changes something. A page in the operator's
// browser could post here without a token; it cannot set a header of its own.
func (g *guard) change(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case g.shown(r):
			next(w, r)
		case g.token || !local(r):
			g.refuse(w)
		case r.Header.Get("X-Penstock") == "":
			answer(w, http.StatusForbidden, "a change without the admin token needs the header X-Penstock: 1")
		default:
			next(w, r)
		}
	}
}

func (g *guard) refuse(w http.ResponseWriter) {
	if !g.token {
		answer(w, http.StatusForbidden, "without admin.token only this machine may ask, by a loopback name")
		return
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	answer(w, http.StatusUnauthorized, "show admin.token as a bearer")
}

// shown reports whether the request shows the token.
func (g *guard) shown(r *http.Request) bool {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	digest := sha256.Sum256([]byte(token))
	return g.token && ok && strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(digest[:], g.digest[:]) == 1
}

// local reports whether the peer is on this machine and meant it: a name that
// another site resolves to loopback is not ours.
func local(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
