package prover

// A Rule is one rule of a set, with its chain, as the engine has it after every
// directive that changes rules. Rules and markers are given in load order.
type Rule struct {
	ID     int
	Phase  int    // 1 to 5
	Marker string // of a SecMarker, which has nothing else
	Place  string // file:line, for people
	Core   bool   // of the Core Rule Set, which policies have in common
	Links  []Link // the first is the head
	Tags   []string
	// Unclear tells why nothing is known of the rule but where it stands: it may
	// match any request, and do anything.
	Unclear string
}

// A Link is one SecRule or SecAction of a chain.
type Link struct {
	Targets  []Target // as written; none: a SecAction
	Operator Operator
	// Transformations are those that are done, in order; MultiMatch, that the
	// operator looks at what each of them makes as well.
	Transformations []string
	MultiMatch      bool
	Capture         bool
	SetVars         []string // as in tx.a=%{tx.0}
	Ctls            []string // as in ruleRemoveById=1
	SkipAfter       string
	// Log says that a match is logged. Decision is deny, drop, redirect or allow;
	// empty: none.
	Log      bool
	Decision string
	Texts    []string // whose macros the engine expands on a match: msg, logdata
	// Unclear tells why it is not known what the link does to the state of the
	// engine: it has an action that is not one of the above.
	Unclear string
}

// An Operator is what a link compares values with.
type Operator struct {
	Name     string // in lower case, without @ and !
	Argument string
	Not      bool
	List     []string // the phrases of pm and pmFromFile
}

// A Target is one thing that a link looks at.
type Target struct {
	Name     string   // of the variable, as written
	Variable Variable // 0: not known
	Key      string   // empty: all
	Pattern  string   // of keys, instead of Key
	Count    bool     // how many there are (&)
	Except   bool     // taken out of the targets before it with the same variable (!)
}

// effect reports whether a match of the rule is something that somebody gets to
// see: it is logged, or decides. What it only sets is no effect, until a rule
// makes one of it.
func (r *Rule) effect() bool {
	for i := range r.Links {
		if l := &r.Links[i]; l.Log || l.Decision != "" {
			return true
		}
	}
	return false
}
