package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Worker is one inference server.
type Worker struct {
	// URL is http or https, with a host, perhaps a base path, and nothing else.
	URL *url.URL
	// Weight is its share of the work beside the others, from 1 to 1000.
	Weight int64
	// Models are the names and globs of those that it serves; empty is all.
	Models []string
	// APIKey is sent to it in place of the clients' own; empty leaves theirs.
	APIKey Secret
	// CA is the certificates, in PEM, of those who may vouch for it; nil is
	// whom the machine trusts.
	CA []byte
}

// WorkerPolicy is the section of the same name.
type WorkerPolicy struct {
	// StartupTimeout is how long a worker may take until it answers at first.
	StartupTimeout time.Duration
	Health         Health
	// Retries is how often one request may be sent again; 0 is never, but to
	// another worker when nothing was sent.
	Retries int
	Breaker Breaker
}

// Health is how workers are asked for theirs.
type Health struct {
	// Path is below the worker's URL.
	Path string
	// Interval is from one question to the next; 0 asks nobody.
	Interval time.Duration
}

// Breaker is when a worker that fails is left alone.
type Breaker struct {
	// Failures is how many in a row it takes; 0 is never.
	Failures int
	// Open is for how long.
	Open time.Duration
}

// healthPath is a path and perhaps a query.
var healthPath = regexp.MustCompile(`^/[!-"$-~]{0,255}$`)

const (
	// maxRetries is more than ever helped anybody.
	maxRetries  = 10
	maxFailures = 1_000_000
)

// workerPolicy reads the section of the same name.
func (m *mapping) workerPolicy(p *WorkerPolicy) {
	m.duration("startup_timeout", &p.StartupTimeout)
	m.section("health", func(m *mapping) {
		m.matching("path", &p.Health.Path, healthPath, "a path such as /health")
		m.interval("interval", &p.Health.Interval, true)
	})
	whole(m, "retries", &p.Retries, 0, maxRetries)
	m.section("breaker", func(m *mapping) {
		whole(m, "failures", &p.Breaker.Failures, 0, maxFailures)
		m.duration("open", &p.Breaker.Open)
	})
}

// workers reads a list of {url: …}, in which a bare string is a url.
func (m *mapping) workers(key string, to *[]Worker) {
	v, ok := m.get(key)
	if !ok {
		return
	}
	items, _ := v.items()
	seen := workerSet{}
	for _, item := range items {
		w := Worker{Weight: 1}
		if item.node.Kind == yaml.ScalarNode {
			if item.workerURL(seen, &w) {
				*to = append(*to, w)
			}
			continue
		}
		m, ok := item.mapping()
		if !ok {
			continue
		}
		m.masked = true
		if v, ok := m.get("url"); ok {
			v.workerURL(seen, &w)
		} else {
			m.missing("url", "write %s", workerForm)
		}
		whole(m, "weight", &w.Weight, 1, maxWeight)
		w.Models = m.servedModels()
		m.secret("api_key", &w.APIKey)
		w.CA = m.certificates("ca_file")
		if w.CA != nil && w.URL != nil && w.URL.Scheme == "http" {
			m.r.warnAt(join(m.path, "ca_file"), "has no effect: nobody vouches for a worker that is asked by http")
		}
		m.done()
		*to = append(*to, w)
	}
}

func (v value) workerURL(seen workerSet, w *Worker) bool {
	s, ok := v.text()
	if !ok {
		return false
	}
	u, err := seen.parse(s.text)
	if err != nil {
		s.fail("%v", err)
		return false
	}
	w.URL = u
	return true
}

// servedModels reads the names and globs of the models that a worker serves.
func (m *mapping) servedModels() (models []string) {
	v, ok := m.get("models")
	if !ok {
		return nil
	}
	items, ok := v.items()
	if ok && len(items) == 0 {
		v.fail("a worker that serves no model: name one, or remove it for all")
	}
	for _, item := range items {
		s, ok := item.text()
		if ok && s.isModel(s.text) {
			models = append(models, s.text)
		}
	}
	return models
}

// certificates reads a file of certificates in PEM. What else is in it is left
// out, a key before all.
func (m *mapping) certificates(key string) (list []byte) {
	v, ok := m.get(key)
	if !ok {
		return nil
	}
	s, ok := v.text()
	if !ok || s.text == "" {
		return nil
	}
	rest, err := m.r.read(s.text, maxCABytes)
	if err != nil {
		s.fail("%v", err)
		return nil
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			s.fail("holds a certificate that cannot be read: %v", err)
			return nil
		}
		list = append(list, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
	}
	if list == nil {
		s.fail("holds no certificate: name a file of those that begin with -----BEGIN CERTIFICATE-----")
	}
	return list
}

// ParseWorker makes a worker of what somebody says by hand, under the rules that
// a file is held to. No models are all.
func ParseWorker(url string, weight int64, models []string) (Worker, error) {
	w := Worker{Weight: weight, Models: models}
	var err error
	if w.URL, err = (workerSet{}).parse(url); err != nil {
		return Worker{}, fmt.Errorf("url: %w", err)
	}
	if weight < 1 || weight > maxWeight {
		return Worker{}, fmt.Errorf("weight: expected a whole number from 1 to %d, got %d", maxWeight, weight)
	}
	for _, name := range models {
		if problem := modelProblem(name); problem != "" {
			return Worker{}, fmt.Errorf("models: %s", problem)
		}
	}
	return w, nil
}

const workerForm = "a URL such as http://10.0.0.7:8000"

// workerSet finds workers that are listed twice, however written.
type workerSet map[string]bool

// parse parses a worker's URL. Its errors do not quote it, since it may hold
// a password.
func (seen workerSet) parse(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case strings.Contains(s, ","):
		return nil, errors.New("one URL at a time, without commas")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("expected " + workerForm)
	case u.User != nil:
		return nil, errors.New("a URL with a name or password in it: remove them, they would end up in logs")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		return nil, errors.New("a URL ends with its path: remove the ? or # and what follows")
	case !isAddress(hostPort(u)) || u.Port() == "0":
		return nil, errors.New("a host is an address or a name, and a port a number from 1 to 65535")
	}
	same := u.Scheme + "://" + hostPort(u) + strings.TrimRight(u.EscapedPath(), "/")
	if seen[same] {
		return nil, errors.New("this worker is listed already: remove one")
	}
	seen[same] = true
	return u, nil
}

// hostPort returns the host in lower case and the port, which the scheme
// says when the URL does not.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
