package config

import (
	"fmt"
	"slices"

	"sallyport/internal/gate"
)

// choices reads what one block says about hygiene: the reasons that it lets
// pass and those whose refusal it asks for. What holds around the block, as
// given, holds in it too unless it says otherwise: a route knows its
// application better than the whole gateway does.
func (r *reader) choices(o *object, waivedAround, refusedAround map[gate.Reason]bool) (waive, refuse map[gate.Reason]bool) {
	var waived, refused []gate.Reason
	setList(o, "waive", &waived, parseWaiver)
	setList(o, "refuse", &refused, func(s string) (gate.Reason, error) {
		reason, err := parseRefusal(s)
		if err == nil && slices.Contains(waived, reason) {
			return "", &problem{s + " is waived here too", "keep it in one of the two lists"}
		}
		return reason, err
	})
	for _, reason := range waived {
		if reason.Optional() && !refusedAround[reason] && !waivedAround[reason] {
			r.warn(place(o, "waive", reason), "without effect: "+string(reason)+" is let pass unless refuse asks for it", "")
		}
	}
	for _, reason := range refused {
		if !reason.Optional() && !waivedAround[reason] && !refusedAround[reason] {
			r.warn(place(o, "refuse", reason), "without effect: "+string(reason)+" is refused unless waive lets it pass", "")
		}
	}
	return composed(waived, refused, waivedAround), composed(refused, waived, refusedAround)
}

// composed is a set of reasons: those of a list, and those around it that the
// opposite list does not name.
func composed(list, opposite []gate.Reason, around map[gate.Reason]bool) map[gate.Reason]bool {
	out := map[gate.Reason]bool{}
	for _, reason := range list {
		out[reason] = true
	}
	for reason := range around {
		if !slices.Contains(opposite, reason) {
			out[reason] = true
		}
	}
	return out
}

// place is the path of the entry of a list that names a reason.
func place(o *object, key string, reason gate.Reason) string {
	path := o.join(key)
	for i, item := range o.get(key).items {
		if item.text == string(reason) {
			return fmt.Sprintf("%s[%d]", path, i)
		}
	}
	return path // what a variable stands for
}
