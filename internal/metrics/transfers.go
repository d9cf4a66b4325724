package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// A Transfer is one that runs. Its bytes are counted whenever somebody asks for the
// metrics, and once more when it ends: each byte once.
type Transfer struct {
	direction string
	moved     func() int64 // so far; any goroutine may call it
	counted   int64        // of these; running.mu guards it
}

// running are the transfers that run.
type running struct {
	mu  sync.Mutex
	all map[*Transfer]struct{}
}

// TransferStarted counts a running transfer; direction is Download or Upload. moved is the
// payload that was delivered so far, and never becomes less.
func (m *Metrics) TransferStarted(direction string, moved func() int64) *Transfer {
	m.transfersActive.WithLabelValues(direction).Inc()
	t := &Transfer{direction: direction, moved: moved}
	m.running.mu.Lock()
	defer m.running.mu.Unlock()
	if m.running.all == nil {
		m.running.all = make(map[*Transfer]struct{})
	}
	m.running.all[t] = struct{}{}
	return t
}

// TransferEnded is told once for each TransferStarted. result is OK, Client,
// Server or Proxy; bytes is the payload that was delivered.
func (m *Metrics) TransferEnded(t *Transfer, result string, bytes int64) {
	m.transfersActive.WithLabelValues(t.direction).Dec()
	m.transfers.WithLabelValues(t.direction, result).Inc()
	m.running.mu.Lock()
	defer m.running.mu.Unlock()
	delete(m.running.all, t)
	m.count(t, bytes)
}

// count counts what has moved since it was counted last. running.mu is held.
func (m *Metrics) count(t *Transfer, bytes int64) {
	if more := bytes - t.counted; more > 0 {
		t.counted = bytes
		m.transferBytes.WithLabelValues(t.direction).Add(float64(more))
	}
}

func (m *Metrics) countRunning() {
	m.running.mu.Lock()
	defer m.running.mu.Unlock()
	for t := range m.running.all {
		m.count(t, t.moved())
	}
}

// A bytesCollector brings the counter of bytes up to date before it is read.
type bytesCollector struct {
	*prometheus.CounterVec
	m *Metrics
}

func (c bytesCollector) Collect(out chan<- prometheus.Metric) {
	c.m.countRunning()
	c.CounterVec.Collect(out)
}

func (m *Metrics) bytesCounter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.registry.MustRegister(bytesCollector{v, m})
	m.describe("counter", name, help, labels)
	return v
}
