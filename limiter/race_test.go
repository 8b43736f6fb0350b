//go:build race

package limiter_test

// raceEnabled is for tests that count allocations.
const raceEnabled = true
