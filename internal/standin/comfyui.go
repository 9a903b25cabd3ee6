package standin

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The bounds of one graph.
const (
	maxNodes = 1000
	maxSteps = 100 // of a node that are told; more are told as so many
)

// comfyNodeErrors are the errors of one node of a graph.
type comfyNodeErrors struct {
	Errors           []comfyNodeError `json:"errors"`
	DependentOutputs []string         `json:"dependent_outputs"`
	ClassType        string           `json:"class_type"`
}

type comfyNodeError struct {
	Type      string         `json:"type"`
	Message   string         `json:"message"`
	Details   string         `json:"details"`
	ExtraInfo map[string]any `json:"extra_info"`
}

// comfyErrorBody returns ComfyUI's shape of an error.
func comfyErrorBody(e *refusal) any {
	nodes := e.nodes
	if nodes == nil {
		nodes = map[string]comfyNodeErrors{}
	}
	return struct {
		Error comfyNodeError             `json:"error"`
		Nodes map[string]comfyNodeErrors `json:"node_errors"`
	}{comfyNodeError{e.kind, e.message, e.details, map[string]any{}}, nodes}
}

func badGraph(kind, message, details string) *refusal {
	return &refusal{status: http.StatusBadRequest, kind: kind, message: message, details: details}
}

// comfyPrompt serves POST /prompt: it takes a job, and answers at once.
func (w *Worker) comfyPrompt(a *answer, _ *http.Request) {
	f, err := comfyFields(a)
	var j *job
	if err == nil {
		j, err = w.newJob(a, f)
	}
	if err == nil {
		err = w.jobs.put(time.Now(), j)
	}
	if err != nil {
		a.refuseFor(err)
		return
	}
	err = a.json(http.StatusOK, struct {
		ID     string         `json:"prompt_id"`
		Number json.Number    `json:"number"`
		Nodes  map[string]any `json:"node_errors"`
	}{j.id, j.numberJSON(), map[string]any{}})
	switch {
	case err == nil && a.err == nil:
		w.engine.ended("", finished)
	case errors.Is(a.err, errCut):
		w.engine.ended("", faulted)
	default:
		w.engine.ended("", cancelled)
	}
}

// comfyFields reads the JSON object of a request; no body is an empty one.
func comfyFields(a *answer) (fields, error) {
	body, err := readBody(a)
	if err != nil || len(body) == 0 {
		return fields{}, err
	}
	return parseFields(body)
}

// newJob reads a job: a graph of which one node at least has output.
func (w *Worker) newJob(a *answer, f fields) (*job, error) {
	graph, ok := f["prompt"].(map[string]any)
	if !ok {
		return nil, badGraph("no_prompt", "No prompt provided", "No prompt provided")
	}
	if len(graph) > maxNodes {
		return nil, badGraph("invalid_prompt", fmt.Sprintf("The graph has more than %d nodes", maxNodes), "")
	}
	j := &job{id: fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(w.opts.Seed), a.serial), number: math.NaN()}
	bad := map[string]comfyNodeErrors{}
	ids := slices.SortedFunc(maps.Keys(graph), compareNodes)
	for _, id := range ids {
		object, _ := graph[id].(map[string]any)
		class, ok := object["class_type"].(string)
		if !ok {
			return nil, badGraph("invalid_prompt", "Cannot execute because a node is missing the class_type property.", "Node ID '#"+id+"'")
		}
		inputs, _ := object["inputs"].(map[string]any)
		n := node{id: id, class: class}
		if steps, err := fields(inputs).whole("steps", 0); err == nil {
			n.steps = int(min(max(steps, 0), maxSteps))
		}
		j.nodes = append(j.nodes, n)
		if strings.HasPrefix(class, "Save") || strings.HasPrefix(class, "Preview") {
			j.outputs = append(j.outputs, id)
		}
		if errs := badLinks(graph, inputs); len(errs) > 0 {
			bad[id] = comfyNodeErrors{Errors: errs, ClassType: class}
		}
	}
	if len(j.outputs) == 0 {
		return nil, badGraph("prompt_no_outputs", "Prompt has no outputs", "")
	}
	if len(bad) > 0 {
		for id, errs := range bad {
			errs.DependentOutputs = j.outputs
			bad[id] = errs
		}
		e := badGraph("prompt_outputs_failed_validation", "Prompt outputs failed validation", "")
		e.nodes = bad
		return nil, e
	}
	return j, j.ask(f)
}

// ask reads what a client may say of its job beside the graph.
func (j *job) ask(f fields) error {
	id, err := f.text("prompt_id")
	if err == nil {
		j.client, err = f.text("client_id")
	}
	if err == nil {
		j.front, err = f.flag("front")
	}
	if err != nil {
		return err
	}
	if id != "" {
		j.id = id
	}
	if v := f["number"]; v != nil {
		number, ok := v.(json.Number)
		if j.number, err = number.Float64(); !ok || err != nil {
			return badRequest("number", "number must be a number.")
		}
	}
	extra := f["extra_data"]
	if extra == nil {
		extra = map[string]any{}
	}
	j.graph, err = json.Marshal([]any{f["prompt"], extra})
	return err
}

// compareNodes orders the ids of nodes: as numbers where they are.
func compareNodes(x, y string) int {
	if len(x) != len(y) {
		return len(x) - len(y)
	}
	return strings.Compare(x, y)
}

// badLinks returns the errors of those inputs that are links, and lead nowhere.
func badLinks(graph, inputs map[string]any) (errs []comfyNodeError) {
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		link, ok := inputs[name].([]any)
		if !ok {
			continue
		}
		if len(link) == 2 {
			if from, _ := link[0].(string); graph[from] != nil {
				continue
			}
		}
		errs = append(errs, comfyNodeError{
			"bad_linked_input", "Bad linked input, must be a length-2 list of [node_id, slot_index]", name,
			map[string]any{"input_name": name, "received_value": link},
		})
	}
	return errs
}

// comfyRemaining serves GET /prompt: how many jobs there are.
func (w *Worker) comfyRemaining(a *answer, _ *http.Request) {
	_ = a.json(http.StatusOK, map[string]execInfo{"exec_info": w.jobs.info(time.Now())})
}

// comfyQueue serves GET /queue.
func (w *Worker) comfyQueue(a *answer, _ *http.Request) {
	running, pending := w.jobs.list(time.Now())
	_ = a.json(http.StatusOK, map[string][]any{"queue_running": running, "queue_pending": pending})
}

// comfyDelete serves POST /queue: jobs that wait are taken out.
func (w *Worker) comfyDelete(a *answer, _ *http.Request) {
	f, err := comfyFields(a)
	var all bool
	if err == nil {
		all, err = f.flag("clear")
	}
	ids, ok := f["delete"].([]any)
	if err == nil && !ok && f["delete"] != nil {
		err = badRequest("delete", "delete must be a list of ids.")
	}
	if err != nil {
		a.refuseFor(err)
		return
	}
	w.jobs.remove(time.Now(), func(j *job) bool { return all || slices.Contains(ids, any(j.id)) })
	a.WriteHeader(http.StatusOK)
}

// comfyInterrupt serves POST /interrupt: the job that runs ends, unless the
// request names another.
func (w *Worker) comfyInterrupt(a *answer, _ *http.Request) {
	f, err := comfyFields(a)
	var id string
	if err == nil {
		id, err = f.text("prompt_id")
	}
	if err != nil {
		a.refuseFor(err)
		return
	}
	w.jobs.interrupt(time.Now(), id)
	a.WriteHeader(http.StatusOK)
}

// comfyHistory serves GET /history and /history/{id}.
func (w *Worker) comfyHistory(a *answer, r *http.Request) {
	most := int64(math.MaxInt64)
	if s := r.URL.Query().Get("max_items"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			a.refuse(badRequest("max_items", "max_items must be a whole number."))
			return
		}
		if n >= 0 {
			most = n
		}
	}
	_ = a.json(http.StatusOK, w.jobs.past(time.Now(), a.id, most))
}

// comfyName is what the pictures of jobs are called.
var comfyName = regexp.MustCompile(`^ComfyUI_\d{5,}_\.png$`)

// comfyView serves GET /view: a picture of any job, past or to come.
func comfyView(a *answer, r *http.Request) {
	name := r.URL.Query().Get("filename")
	switch {
	case name == "":
		a.refuse(badRequest("filename", "filename must be that of an output."))
	case !comfyName.MatchString(name):
		a.refuse(&refusal{status: http.StatusNotFound, kind: "not_found", message: "There is no such output."})
	default:
		a.Header().Set("Content-Disposition", `filename="`+name+`"`)
		_ = a.whole("image/png", drawImage(name))
	}
}
