package waf

import (
	"errors"
	"fmt"
	"strings"

	vars "github.com/corazawaf/coraza/v3/types/variables"

	"sallyport/internal/gate"
	"sallyport/waf/prover"
)

// A sink takes the arguments of the query or of a body, within the bounds of a
// policy, and looks into those that hold another language.
type sink struct {
	facts     *prover.Facts
	args      prover.Variable // where the arguments go
	arguments int             // how many it takes
	jsonDepth int
	graphQL   GraphQL // what is left of it
	rules     *ruleset

	count int
	full  bool   // there were more than it takes
	flaw  error  // an argument that the rules cannot read as the application does
	limit string // which bound on GraphQL was exceeded
}

// newSink is one for the arguments of a body.
func newSink(facts *prover.Facts, p *policy) *sink {
	return &sink{facts: facts, args: vars.ArgsPost, arguments: p.Arguments, jsonDepth: p.JSONDepth, graphQL: p.GraphQL, rules: p.rules}
}

// add takes one argument.
func (s *sink) add(name, value string) {
	if s.count >= s.arguments {
		s.full = true
		return
	}
	s.count++
	s.facts.Add(s.args, name, value)
	if other := s.rules.alias(name); other != "" {
		s.facts.Add(s.args, other, value)
	}
	s.inspect(name, value)
}

// inspect looks into the arguments whose name says what they hold. GraphQL over
// HTTP sends its parts under these names, as parameters of a query or as fields
// of a form.
func (s *sink) inspect(name, value string) {
	switch {
	case len(name) == len(charsetField) && strings.EqualFold(name, charsetField) && !readableCharset(value):
		s.flaw = inCharset(fmt.Sprintf("%s %.40q", charsetField, value))
	case name == "query":
		s.document(value)
	case name == "variables" || name == "extensions" || name == "operations":
		if shapeOf(value) != shapeJSON {
			return
		}
		if err := readNamedJSON(value, name, s); errors.Is(err, errBound) {
			s.flaw = err
		}
	}
}

// document reads a text that may be a GraphQL document. Only where all of it is
// one does it count as one, and are its arguments handed on; any other text is
// judged as it is, by the name that it came under. It returns why it is none.
func (s *sink) document(text string) error {
	g := newGraphQLReader(text, s)
	err := g.document()
	var depth, aliases int
	if err == nil {
		depth, aliases, err = g.size(s.graphQL.Aliases + 1)
	}
	switch {
	case errors.Is(err, errManyArguments):
		s.full = true
		return nil
	case errors.Is(err, errBound), errors.Is(err, errFragmentCircle):
		s.limit = err.Error()
		return nil
	case err != nil:
		return err
	}
	switch {
	case depth > s.graphQL.Depth:
		s.limit = fmt.Sprintf("graphql: fields nested deeper than %d", s.graphQL.Depth)
	case aliases > s.graphQL.Aliases:
		s.limit = "graphql: too many aliases"
	case s.graphQL.Batch == 0:
		s.limit = "graphql: too many operations in one request"
	}
	s.graphQL.Aliases -= aliases
	s.graphQL.Batch--
	for _, a := range g.found {
		s.add(a[0], a[1])
	}
	s.add("graphql.names", g.allNames())
	if len(g.notes) > 0 {
		s.add("graphql.comments", strings.Join(g.notes, "\n"))
	}
	return nil
}

// exceeds refuses a request that has more in it than the rules look at, or more
// than the policy lets a server be asked. It reports whether the request ends
// here.
func (t *Transaction) exceeds(s *sink, where string) bool {
	return s.full && t.find(gate.WAFTooManyArguments, fmt.Sprintf("more than %d %s", s.arguments, where)) ||
		s.limit != "" && t.find(gate.WAFGraphQLLimit, s.limit)
}
