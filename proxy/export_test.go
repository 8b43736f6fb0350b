package proxy

// LeakAlone reports whether an address with a port stands for itself in a
// text.
func LeakAlone(text string, from, to int) bool {
	yes, _ := (&leakSet{}).bordered(leakToken{kind: leakPort, host: leakIPv4}, []byte(text[max(0, from-leakBefore):from]), []byte(text[to:]), true)
	return yes
}
