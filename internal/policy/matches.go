package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/modelname"
	"github.com/penstock-dev/penstock/internal/pricing/usd"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// reading is what can be known of some of the requests that a scope is for.
type reading struct {
	body      bool // it is read, so that there is a model
	tokens    bool // there are tokens
	output    bool // among them such of the answer
	generates bool // which are reserved
}

// reading returns what can be known of the requests, as their methods and paths
// tell. endpoints is as for [Policy.Idle].
func (s *scope) reading(endpoints func(path string) []traffic.Endpoint) (can reading) {
	if !one(s.methods, "POST") && !one(s.methods, "PUT") { // as provider.Route has it
		return can
	}
	if len(s.paths) == 0 {
		return reading{true, true, true, true}
	}
	for _, path := range s.paths {
		kinds := endpoints(path)
		if kinds == nil {
			return reading{true, true, true, true}
		}
		for _, e := range kinds {
			if !e.Metered() {
				continue
			}
			can.body = true
			if e.Kind == traffic.ComfyPrompt {
				continue // a job, which is counted in no tokens
			}
			can.tokens = true
			switch e.Kind {
			case traffic.Embeddings, traffic.EmbedContent, traffic.OllamaEmbed, traffic.Moderations, traffic.Rerank:
			default:
				can.output = true
			}
			can.generates = can.generates || e.Generates()
		}
	}
	return can
}

// counts says why a limit of the unit never counts anything; empty when it may.
func (can reading) counts(u penstock.Unit) string {
	switch {
	case !ofUsage(u), can.output:
	case !can.body:
		return "counts nothing: no body of these requests is read, so that they are charged as requests alone"
	case !can.tokens:
		return "counts nothing: a job of ComfyUI's is a request, without tokens"
	case u == penstock.OutputTokens:
		return "counts nothing: no answer to these requests is made of output tokens"
	}
	return ""
}

// greedy says that requests whose need is not known take all of the rule, one
// after the other; empty when they do not. What they ask for is cut to it.
func (p *Policy) greedy(l *Rule, models []string, can reading) string {
	output, media := p.estimate.Output, p.estimate.MediaPart
	if l.Limit.Unit == penstock.InputTokens || !can.generates {
		output = 0
	}
	if l.Limit.Unit == penstock.OutputTokens {
		media = 0
	}
	switch {
	case l.Limit.Unit == penstock.Cost:
		unlisted, listed := p.Price(noModel)
		if least := cheapest(unlisted).Cost(traffic.Usage{Input: 1}); least > l.most && !listed && p.unlisted(models) {
			return "one input token costs " + usd.Format(least) + " by pricing.default, so that no request to a model that is not listed can pass"
		}
	case !ofUsage(l.Limit.Unit):
	case output > l.most:
		return fmt.Sprintf("a request that names no maximum is taken for estimate.output of %d, and so takes all of it until it has ended", output)
	case media > l.most:
		return fmt.Sprintf("an image or file is taken for estimate.media_part of %d, and so takes all of it until the request has ended", media)
	}
	return ""
}

// unlisted reports whether one of the models may be listed nowhere; none is any.
func (p *Policy) unlisted(models []string) bool {
	return len(models) == 0 || slices.ContainsFunc(models, func(m string) bool {
		_, listed := p.Price(m)
		return modelname.IsGlob(m) || !listed
	})
}

// shadowed returns, by the index of each entry of per_model, the one that takes
// every name that it matches; empty when some are left. Only a glob as long can,
// which then has the very same letters: a name is always its own longest match.
func (p *Policy) shadowed() []string {
	by := make([]string, len(p.models))
	globs := map[string][]string{} // by their letters
	for i := range p.models {
		name := p.models[i].name
		if !modelname.IsGlob(name) {
			continue
		}
		letters := strings.ReplaceAll(name, "*", "")
		for _, before := range globs[letters] {
			if globCovers(before, name) {
				by[i] = before
				break
			}
		}
		globs[letters] = append(globs[letters], name)
	}
	return by
}

// beats returns the entry of per_endpoint that takes every request that the i-th
// matches; empty when some are left.
func (p *Policy) beats(i int) string {
	e := &p.endpoints[i]
	for j := range i { // those that come before it
		o := &p.endpoints[j]
		if all(o.methods, e.methods, func(x, y string) bool { return x == y }) && globCovers(o.path, e.path) {
			return o.name
		}
	}
	return ""
}
