//go:build race

package gateway_test

// raceEnabled makes the long tests shorter under the race detector.
const raceEnabled = true
