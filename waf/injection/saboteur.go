//go:build sabotage

package injection

// mutant is the change that is made, one of those that the sabotage test has
// put into the readers; steps counts the rounds of their loops, for a change
// may make one endless.
var mutant, steps int

const maxSteps = 1 << 20

func sabotagedStep() {
	if steps++; steps > maxSteps {
		panic("endless")
	}
}

// sabotagedSkip tells whether a statement is left out.
func sabotagedSkip(id int) bool { return id == mutant }

// sabotagedBool is a condition that does not matter any more, one way or the
// other.
func sabotagedBool(id int, v bool) bool {
	switch mutant {
	case id:
		return true
	case id + 1:
		return false
	}
	return v
}

// sabotagedNumber is a number that is one too large or too small.
func sabotagedNumber[T byte | rune | int | uint32 | step](id int, v T) T {
	switch mutant {
	case id:
		return v + 1
	case id + 1:
		return v - 1
	}
	return v
}

// sabotagedText is a text without its last byte.
func sabotagedText(id int, v string) string {
	if id == mutant && v != "" {
		return v[:len(v)-1]
	}
	return v
}
