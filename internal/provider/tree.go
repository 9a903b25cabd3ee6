package provider

import (
	"slices"
	"strings"
)

// want is what a value in an answer is good for.
type want uint8

// The wants.
const (
	nothing        want = iota
	wantUsage           // the object that holds the numbers below
	wantInput           // the number of input tokens
	wantMoreInput       // more of them, counted apart
	wantCached          // how many were read from a cache
	wantWrites          // how many were written to one
	wantLongWrites      // how many of those for an hour
	wantTotal           // the number of tokens of what has no output: the input, if that is said smaller
	wantOutput          // the number of output tokens
	wantMoreOutput      // more of them, counted apart
	wantAllInput        // one of several numbers, each of a part, that add up to all
	wantAllCached
	wantAllWrites
	wantAllLongWrites
	wantAllOutput
	wantText      // output
	wantReasoning // output that some workers send under two names, each of
	wantThought   // which is one of these: the larger counts
	wantChoices   // the array of answers, which is empty beside a last usage
	wantType      // what kind of event it is
	wantSequence  // the number of the event
	wantError     // an error, after which nothing comes
	wantFinish    // why the answer ends, once it does
)

// tree says which values of a document are wanted. It is never changed and may
// be shared. Node 0 is what nothing is wanted of, node 1 the document.
type tree []node

type node struct {
	want   want
	deep   bool  // all that is in the value is of this node too
	elem   uint8 // the node of an array's elements
	fields []treeField
}

type treeField struct {
	name string
	node uint8
}

const documentNode = 1

// wanted is a path to values, and what they are good for. A path is the names of
// fields with dots between them, and [] behind one whose elements are meant, {}
// behind one of which all is meant, however deep.
type wanted struct {
	path string
	want want
}

// newTree returns the tree of these paths.
func newTree(lists ...[]wanted) tree {
	t := tree{{}, {}}
	for _, w := range slices.Concat(lists...) {
		at := uint8(documentNode)
		for step := range strings.SplitSeq(w.path, ".") {
			name, deep := strings.CutSuffix(step, "{}")
			name, elements := strings.CutSuffix(name, "[]")
			at = t.add(at, name)
			if deep {
				t[at].deep, t[at].elem = true, at
			}
			if elements {
				if t[at].elem == 0 {
					t = append(t, node{})
					t[at].elem = uint8(len(t) - 1)
				}
				at = t[at].elem
			}
		}
		t[at].want = w.want
	}
	if len(t) > arrayBit {
		panic("provider: more is wanted than a stack has room for")
	}
	return t
}

// add returns the node of a field, which it makes where there is none.
func (t *tree) add(at uint8, name string) uint8 {
	if i := (*t).field(at, []byte(name)); i != 0 {
		return i
	}
	*t = append(*t, node{})
	i := uint8(len(*t) - 1)
	(*t)[at].fields = append((*t)[at].fields, treeField{name, i})
	return i
}

// field returns the node of a field; 0 where it is not wanted.
func (t tree) field(at uint8, name []byte) uint8 {
	if t[at].deep {
		return at
	}
	for i := range t[at].fields {
		if f := &t[at].fields[i]; f.name == string(name) {
			return f.node
		}
	}
	return 0
}
