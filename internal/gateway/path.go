package gateway

import (
	"net/http"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock/internal/provider"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// rawPath is the path of a request target as the client sent it and a worker
// gets it: in origin form, in absolute form, or "*". A target that is none of
// them has the path "/".
func rawPath(target string) string {
	if !strings.HasPrefix(target, "/") && target != "*" {
		_, rest, _ := strings.Cut(target, ":")
		if authority, ok := strings.CutPrefix(rest, "//"); ok {
			rest = ""
			if i := strings.IndexAny(authority, "/?"); i >= 0 {
				rest = authority[i:]
			}
		}
		if !strings.HasPrefix(rest, "/") {
			return "/"
		}
		target = rest
	}
	path, _, _ := strings.Cut(target, "?")
	return path
}

// cleanPath is the path that rules are held against: without a fragment, which
// some workers cut off, decoded once with %2F kept, empty segments and dots
// resolved, what follows a ; in a segment cut, no slash at the end, the case as
// it was, and ComfyUI's /api/x as /x. The worker is sent the raw one. A path that
// is clean already costs nothing.
func cleanPath(raw string) string {
	if isClean(raw) {
		return withoutTwin(raw)
	}
	segments := strings.Split(withoutFragment(raw), "/")
	for i, s := range segments {
		// A worker may cut first or decode first.
		segments[i] = withoutParameters(decode(withoutParameters(s)))
	}
	return withoutTwin(resolve(segments))
}

// otherReadings are what workers may take a path for that is not clean, besides
// what cleanPath says: those that decode all of it before they look for slashes
// and dots, with what follows a # or a ; and without, and with \ for a slash; and
// those to which a .. is a name like any other, which a route for all that is below
// /metrics has, too.
func otherReadings(raw string) []string {
	if isClean(raw) {
		return nil
	}
	readings := []string{raw}
	also := func(read func(string) string) {
		for _, r := range readings {
			if other := read(r); other != r {
				readings = append(readings, other)
			}
		}
	}
	also(withoutFragment)
	also(withoutAllParameters)
	for i, r := range readings {
		readings[i] = strings.ReplaceAll(decode(r), "%2F", "/")
	}
	also(withoutAllParameters)
	also(func(path string) string { return strings.ReplaceAll(path, `\`, "/") })
	for i, r := range readings {
		readings[i] = named(r)
	}
	also(func(path string) string { return resolve(strings.Split(path, "/")) })
	for i, r := range readings {
		readings[i] = withoutTwin(r)
	}
	return readings
}

// named joins the segments that are names, to some workers: a .. is one.
func named(path string) string {
	segments := slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
	return "/" + strings.Join(segments, "/")
}

func withoutFragment(path string) string {
	p, _, _ := strings.Cut(path, "#")
	return p
}

func withoutParameters(segment string) string {
	s, _, _ := strings.Cut(segment, ";")
	return s
}

func withoutAllParameters(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = withoutParameters(s)
	}
	return strings.Join(segments, "/")
}

// resolve joins segments without those that are empty, and without dots.
func resolve(segments []string) string {
	kept := segments[:0]
	for _, s := range segments {
		switch s {
		case "", ".":
		case "..":
			kept = kept[:max(len(kept)-1, 0)]
		default:
			kept = append(kept, s)
		}
	}
	return "/" + strings.Join(kept, "/")
}

// isClean reports whether nothing in the path needs cleaning.
func isClean(p string) bool {
	if p == "/" {
		return true
	}
	if p == "" || p[0] != '/' || p[len(p)-1] == '/' {
		return false
	}
	for i := range len(p) {
		switch p[i] {
		case '%', ';', '#', '\\':
			return false
		case '/':
			if i+1 < len(p) && (p[i+1] == '/' || p[i+1] == '.') {
				return false
			}
		}
	}
	return true
}

// decode decodes percent-encoded bytes once, except %2F, which it writes in
// upper case. What is no encoding stays.
func decode(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi >= 0 && lo >= 0 {
				if c := byte(hi<<4 | lo); c == '/' {
					b.WriteString("%2F")
				} else {
					b.WriteByte(c)
				}
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// withoutTwin is the path of the handler that answers it in ComfyUI: /api/x is
// /x there.
func withoutTwin(path string) string {
	if !strings.HasPrefix(path, "/api/") {
		return path
	}
	if twin := path[len("/api"):]; isComfyUI(twin) {
		return twin
	}
	return path
}

// lowered is the cleaned path in lower case, as workers read it to which no case
// counts.
func lowered(path string) string { return withoutTwin(strings.ToLower(path)) }

// isComfyUI reports whether a path is one of ComfyUI's, which has each of them
// under /api, too: limits on the one are on both.
func isComfyUI(path string) bool {
	return provider.Route(http.MethodGet, path).Dialect == traffic.ComfyUI
}

// closed are the routes of workers that are for their operators: metrics, and
// what changes the worker for everybody. A /* at the end is all below.
var closed = routes(
	"/metrics", "/metrics/*", "/internal/*",
	// vLLM
	"/load", "/sleep", "/wake_up", "/is_sleeping", "/pause", "/resume", "/is_paused", "/server_info", "/collective_rpc",
	"/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache", "/start_profile", "/stop_profile",
	"/scale_elastic_ep", "/is_scaling_elastic_ep", "/v1/load_lora_adapter", "/v1/unload_lora_adapter",
	"/init_weight_transfer_engine", "/start_weight_update", "/update_weights", "/finish_weight_update",
	"/start_draft_weight_update", "/weight_checker", "/weight_info", "/get_world_size", "/abort_requests", "/fault_tolerance/*",
	"/invocations", // any endpoint by another name
	// SGLang
	"/flush_cache", "/get_server_info", "/get_internal_state", "/set_internal_state", "/get_load", "/abort_request",
	"/open_session", "/close_session", "/configure_logging", "/slow_down", "/freeze_gc",
	"/release_memory_occupation", "/resume_memory_occupation", "/get_weights_by_name",
	"/update_weights_from_disk", "/update_weights_from_tensor", "/update_weights_from_distributed",
	"/update_weights_from_ipc", "/update_weight_version", "/pause_generation", "/continue_generation",
	"/init_weights_update_group", "/destroy_weights_update_group", "/load_lora_adapter", "/unload_lora_adapter",
	"/init_weights_send_group_for_remote_instance", "/send_weights_to_remote_instance", "/clear_hicache_storage_backend",
	"/start_expert_distribution_record", "/stop_expert_distribution_record", "/dump_expert_distribution_record",
	"/load_lora_adapter_from_tensors", "/weights_checker", "/set_trace_level", "/v1/loads", "/hicache/*", "/dumper/*",
	"/add_external_corpus", "/remove_external_corpus", "/list_external_corpora",
	"/remote_instance_transfer_engine_info", "/get_remote_instance_transfer_engine_info",
	"/vertex_generate", // /generate by another name
	// llama.cpp
	"/slots", "/slots/*", "/lora-adapters", "/models/load", "/models/unload",
	// Ollama
	"/api/create", "/api/delete", "/api/pull", "/api/push", "/api/copy", "/api/blobs/*",
	// LM Studio
	"/api/v1/models/load", "/api/v1/models/unload", "/api/v1/models/download", "/api/v1/models/download/*",
	// llama-swap
	"/unload", "/api/models/unload", "/api/models/unload/*", "/running", "/logs", "/logs/*",
	"/upstream/*", // any endpoint by another name
	// text-generation-webui
	"/v1/internal/model/load", "/v1/internal/model/unload", "/v1/internal/lora/load", "/v1/internal/lora/unload", "/v1/internal/stop-generation",
	// TabbyAPI
	"/v1/model/load", "/v1/model/unload", "/v1/model/embedding/load", "/v1/model/embedding/unload", "/v1/lora/load", "/v1/lora/unload",
	"/v1/template/switch", "/v1/template/unload", "/v1/sampling/override/switch", "/v1/sampling/override/unload", "/v1/download",
	// LocalAI
	"/models/apply", "/models/delete/*", "/models/import-uri", "/models/reload",
	"/backend/monitor", "/backend/shutdown", "/v1/backend/monitor", "/v1/backend/shutdown", "/backends/apply", "/backends/delete/*",
	// KoboldCpp
	"/api/admin/*", "/api/extra/abort",
)

// routeSet is a set of cleaned paths and of those below them.
type routeSet struct {
	exact map[string]bool
	below []string // with the slash
}

func routes(paths ...string) *routeSet {
	s := &routeSet{exact: map[string]bool{}}
	for _, p := range paths {
		if dir, ok := strings.CutSuffix(p, "*"); ok {
			s.below = append(s.below, dir)
		} else {
			s.exact[p] = true
		}
	}
	return s
}

func (s *routeSet) has(path string) bool {
	if s.exact[path] {
		return true
	}
	for _, dir := range s.below {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return false
}
