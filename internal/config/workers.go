package config

import (
	"errors"
	"net"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v4"
)

// workers reads a list of {url: …}, in which a bare string is a url.
func (m *mapping) workers(key string, to *[]Worker) {
	v, ok := m.get(key)
	if !ok {
		return
	}
	items, _ := v.items()
	seen := workerSet{}
	for _, item := range items {
		if item.node.Kind == yaml.ScalarNode {
			item.worker(item.node.Line, seen, to)
			continue
		}
		m, ok := item.mapping()
		if !ok {
			continue
		}
		if v, ok := m.get("url"); ok {
			v.worker(m.node.Line, seen, to)
		} else {
			m.missing("url", "write %s", workerForm)
		}
		m.later("weight", "models", "api_key", "ca_file")
		m.done()
	}
}

func (v value) worker(line int, seen workerSet, to *[]Worker) {
	s, ok := v.text()
	if !ok {
		return
	}
	u, err := seen.parse(s.text)
	if err != nil {
		s.fail("%v", err)
		return
	}
	*to = append(*to, Worker{URL: u, Line: line})
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
