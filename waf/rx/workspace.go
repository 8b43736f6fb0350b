package rx

import "regexp/syntax"

// A workspace is what the computation of a step needs. The dfas of a Scratch
// share one.
type workspace struct {
	mark   []uint64 // of an instruction: the round that it was added in
	round  uint64
	work   []uint16 // the instructions that wait, in the order they were reached
	behind []uint16
	key    []byte
}

func newWorkspace(insts int) *workspace {
	return &workspace{mark: make([]uint64, insts)}
}

// begin starts a new round: nothing is marked, nothing waits.
func (ws *workspace) begin() {
	ws.round++
	ws.work = ws.work[:0]
}

// add lets more instructions wait.
func (ws *workspace) add(set []uint16) {
	for _, pc := range set {
		if ws.mark[pc] != ws.round {
			ws.mark[pc] = ws.round
			ws.work = append(ws.work, pc)
		}
	}
}

// advance adds to work what the waiting instructions of set become over a
// character, and reports whether one of them reaches a match before or with it.
func (ws *workspace) advance(p *program, set []uint16, holds syntax.EmptyOp, class uint8, atEnd bool) bool {
	if p.asserting(set) {
		// Assertions hold or do not, here and now: what is behind them reads the same character.
		ws.begin()
		for _, pc := range set {
			if in := &p.insts[pc]; in.op == syntax.InstEmptyWidth {
				if ws.follow(p, uint32(pc), holds, true) {
					return true
				}
			} else {
				ws.add([]uint16{pc})
			}
		}
		ws.behind = append(ws.behind[:0], ws.work...)
		set = ws.behind
		ws.begin()
	}
	if atEnd {
		return false
	}
	for _, pc := range set {
		if in := &p.insts[pc]; p.takes(in, class) && ws.follow(p, in.out, 0, false) {
			return true
		}
	}
	return false
}

// follow adds to work the instructions that wait for something, reachable from
// pc without a character, and reports whether a match is among them. Where
// here is set, assertions are decided by holds and do not wait.
func (ws *workspace) follow(p *program, pc uint32, holds syntax.EmptyOp, here bool) bool {
	for ws.mark[pc] != ws.round {
		ws.mark[pc] = ws.round
		in := &p.insts[pc]
		switch in.op {
		case syntax.InstMatch:
			return true
		case syntax.InstAlt, syntax.InstAltMatch:
			if ws.follow(p, in.out, holds, here) {
				return true
			}
			pc = in.arg
		case syntax.InstCapture, syntax.InstNop:
			pc = in.out
		case syntax.InstEmptyWidth:
			if !here {
				ws.work = append(ws.work, uint16(pc))
				return false
			}
			if syntax.EmptyOp(in.arg)&^holds != 0 {
				return false
			}
			pc = in.out
		case syntax.InstRune:
			ws.work = append(ws.work, uint16(pc))
			return false
		default: // InstFail
			return false
		}
	}
	return false
}
