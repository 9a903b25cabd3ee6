package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxFileBytes bounds the configuration file, maxSecretBytes a secret's and
// maxCABytes one of certificates.
const (
	maxFileBytes   = 4 << 20
	maxSecretBytes = 64 << 10
	maxCABytes     = 1 << 20
)

// Load reads the file at path and the flags, which beat it; an empty path is
// flags alone. getenv answers for ${VAR} and env:NAME and is os.LookupEnv in
// production. What is wrong comes as Errors; a file that cannot be read as a
// *FileError. Warnings come with errors too.
func Load(path string, flags Flags, getenv func(string) (string, bool)) (*Config, []Warning, error) {
	if path == "" {
		return parse(source{getenv: getenv}, flags)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, &FileError{err}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, nil, &FileError{err}
	}
	return Parse(path, data, flags, getenv)
}

// FileError is why a configuration file could not be read at all.
type FileError struct{ Err error }

func (e *FileError) Error() string { return "config: " + e.Err.Error() }

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }

// Parse is Load for a file that was read already. name is its path: it
// stands in messages, and file:PATH secrets are relative to its folder.
func Parse(name string, data []byte, flags Flags, getenv func(string) (string, bool)) (*Config, []Warning, error) {
	dir := filepath.Dir(name)
	readFile := func(p string, most int64) ([]byte, error) {
		if !filepath.IsAbs(p) {
			p = filepath.Join(dir, p)
		}
		return readRegularFile(p, most)
	}
	return parse(source{file: true, name: name, data: data, getenv: getenv, readFile: readFile}, flags)
}

// source is everything outside the flags that a Config depends on.
type source struct {
	file     bool // there is a file: name, data and readFile are set
	name     string
	data     []byte
	getenv   func(string) (string, bool)
	readFile func(path string, most int64) ([]byte, error) // of at most so many bytes
}

func parse(src source, flags Flags) (*Config, []Warning, error) {
	c := Default()
	r := &reader{source: src, places: places{}, keys: newKeyring()}
	read := true
	if src.file {
		r.places[""] = place{line: 1, column: 1}
		var root value
		if root, read = r.document(); read {
			r.top(root, &c)
		}
	}
	r.flags(flags, &c)
	if token, _ := src.getenv(adminTokenVar); token != "" && !r.has("admin.token") && r.usable(place{flag: adminTokenVar}, "", token) {
		c.Admin.Token = Secret(token)
	}
	if read {
		r.check(&c)
	}

	var warnings []Warning
	for _, w := range r.warnings.sorted() {
		warnings = append(warnings, Warning(w))
	}
	if len(r.errors.list) > 0 {
		return nil, warnings, Errors(r.errors.sorted())
	}
	c.file, c.places = src.name, r.places
	return &c, warnings, nil
}

// adminTokenVar is the variable that is the admin token where the file says
// none.
const adminTokenVar = "PENSTOCK_ADMIN_TOKEN"

// readRegularFile reads a regular file of at most so many bytes: anything else,
// such as a pipe or a device, could block or never end.
func readRegularFile(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if info.Size() > most {
		return nil, fmt.Errorf("larger than %d KiB", most>>10)
	}
	return os.ReadFile(path)
}

// top reads the whole document.
func (r *reader) top(root value, c *Config) {
	m, ok := root.mapping()
	if !ok {
		return
	}
	m.address("listen", &c.Listen)
	m.address("admin_listen", &c.AdminListen)
	m.section("admin", func(m *mapping) {
		m.masked = true
		m.secret("token", &c.Admin.Token)
	})
	m.networks("trusted_proxies", &c.TrustedProxies, true)
	m.duration("request_timeout", &c.RequestTimeout)
	m.duration("shutdown_grace", &c.ShutdownGrace)
	m.size("max_body_bytes", &c.MaxBodyBytes)
	m.size("max_buffered_bytes", &c.MaxBufferedBytes)
	m.section("routes", func(m *mapping) { m.paths("allow", &c.Routes.Allow, true) })
	m.workers("workers", &c.Workers)
	m.section("worker_policy", func(m *mapping) { m.workerPolicy(&c.WorkerPolicy) })
	m.section("admission", func(m *mapping) { r.admission(m, &c.Admission) })
	m.section("auth", func(m *mapping) { r.auth(m, &c.Auth) })
	m.section("rate_limiting", func(m *mapping) { r.rateLimiting(m, &c.RateLimiting) })
	m.section("estimate", func(m *mapping) {
		whole(m, "output", &c.Estimate.Output, 1, maxEstimate)
		whole(m, "media_part", &c.Estimate.MediaPart, 0, maxEstimate)
		m.word("reserve", &c.Estimate.Reserve, "learned", "max")
		m.word("on_overrun", &c.Estimate.OnOverrun, "continue", "stop")
	})
	m.section("pricing", func(m *mapping) { r.pricing(m, &c.Pricing) })
	m.section("metrics", func(m *mapping) {
		m.matching("prefix", &c.Metrics.Prefix, metricPrefix, "letters, digits and _, or nothing")
	})
	m.section("log", func(m *mapping) {
		level := "info"
		if m.word("level", &level, "debug", "info", "warn", "error") {
			_ = c.Log.Level.UnmarshalText([]byte(level)) // one of the four words, which slog reads
		}
		m.word("format", &c.Log.Format, "json", "text")
		m.word("decisions", &c.Log.Decisions, "denied", "all", "sampled")
	})
	m.later("tls")
	m.done()
}
