//go:build linux

package main

import "time"

// A plan says how much is measured.
type plan struct {
	name    string
	rounds  int
	bulk    int64         // bytes of one transfer, for throughput
	bulkTLS int64         // the same with TLS
	window  time.Duration // of a round of small transfers or logins
	noop    time.Duration // of a round of NOOPs
	small   []int         // users of small transfers, in passive mode
	active  []int         // the same, in active mode
	logins  []int
	idle    []int         // sessions
	rest    time.Duration // before memory is read
	idleTLS int           // sessions with TLS
	fair    int           // transfers at once
	even    time.Duration // that they are watched for
	starts  int
	// some: the modes that tell little about the peers are measured for
	// ftproxy and the floor alone.
	some     bool
	unpinned bool // a second pass, with nobody pinned
	limit    time.Duration

	most int // sessions that this machine has descriptors for
}

var full = plan{
	name: "full", rounds: 5, bulk: 2 << 30, bulkTLS: 1 << 30, window: time.Second, noop: 500 * time.Millisecond,
	small: []int{1, 8, 64}, active: []int{8}, logins: []int{1, 8, 64},
	idle: []int{100, 1000, 5000, 10000}, idleTLS: 1000, rest: 4 * time.Second,
	fair: 500, even: 5 * time.Second, starts: 20, unpinned: true, limit: 40 * time.Minute,
}

var quick = plan{
	name: "quick", rounds: 3, bulk: 1 << 30, bulkTLS: 256 << 20, window: 700 * time.Millisecond, noop: 250 * time.Millisecond,
	small: []int{8}, logins: []int{8, 64},
	idle: []int{100, 1000}, idleTLS: 1000, rest: 1500 * time.Millisecond,
	fair: 500, even: 4 * time.Second, starts: 10, some: true, limit: 10 * time.Minute,
}

// loose is the second pass of a full run.
func (p plan) loose() plan {
	p.rounds = min(p.rounds, 3)
	p.small, p.active, p.logins = []int{8}, nil, []int{8}
	return p
}
