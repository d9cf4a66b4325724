//go:build race

package proxy

// raceEnabled tells that the race detector makes all slower.
const raceEnabled = true
