package policy

// model is one entry of per_model: a name, which also stands for its dated and
// latest versions, or a glob. A request that names no model has the entry *,
// since a worker may answer it all the same.
type model struct {
	name  string
	key   string // of the one counter for all callers
	group *group // nil when nothing limits it
}
