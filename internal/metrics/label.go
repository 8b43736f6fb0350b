package metrics

import "sallyport/internal/gate"

// The functions below return the label for a value. What is not in the closed
// set becomes "other", so that a defect elsewhere cannot make a series for each
// request.

func actionLabel(a string) string {
	switch a {
	case "pass", "observe", "refuse", "fail", "undecided":
		return a
	}
	return other
}

func stageLabel(s gate.Stage) string {
	switch s {
	case gate.StageHTTP, gate.StageClient, gate.StageBan, gate.StageRoute, gate.StageGeo, gate.StageLimit,
		gate.StageWAF, gate.StagePool, gate.StageMask, gate.StageGateway:
		return string(s)
	}
	return other
}

func (m *Metrics) reasonLabel(r gate.Reason) string {
	if m.reasons[r] {
		return string(r)
	}
	return other
}

// spanLabel is for the keys of a record's micros: the stages, and the strict
// reader before them.
func spanLabel(s string) string {
	switch s {
	case "strict", "admit", "response":
		return s
	}
	return stageLabel(gate.Stage(s))
}

func inspectedLabel(s string) string {
	switch s {
	case "full", "head", "none":
		return s
	}
	return other
}

func runLabel(s string) string {
	switch s {
	case gate.RunProven, gate.RunGuided, gate.RunFull:
		return s
	}
	return other
}

func placeLabel(s string) string {
	switch s {
	case "header", "interim", "trailer", "body":
		return s
	}
	return other
}

func leakLabel(s string) string {
	switch s {
	case "redact", "block", "observe":
		return s
	}
	return other
}

func classLabel(status int) string {
	switch {
	case status == 0:
		return "none"
	case status >= 100 && status < 200:
		return "1xx"
	case status >= 200 && status < 300:
		return "2xx"
	case status >= 300 && status < 400:
		return "3xx"
	case status >= 400 && status < 500:
		return "4xx"
	case status >= 500 && status < 600:
		return "5xx"
	}
	return other
}
