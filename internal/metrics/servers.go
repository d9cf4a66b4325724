package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// A ServerNow is one server of a backend at the moment, all its addresses together.
type ServerNow struct {
	Backend, Name string // as the configuration calls them
	Up            int    // addresses that get new sessions
	Addresses     int
	Sessions      int
	Failures      map[string]uint64 // of sessions, by kind: connect, greeting, tls
	Checked       bool              // there are checks, and one has ended
	CheckOK       bool              // the last one succeeded, at every address
	CheckSeconds  float64           // how long it took, at the slowest address
}

// servers collects what is told when somebody asks for the metrics.
type servers struct {
	mu   sync.Mutex
	read func() []ServerNow

	up, addresses, sessions, failures, checkOK, checkSeconds *prometheus.Desc
}

// Servers has the metrics of servers read from a function whenever somebody asks for them.
func (m *Metrics) Servers(read func() []ServerNow) {
	m.servers.mu.Lock()
	defer m.servers.mu.Unlock()
	m.servers.read = read
}

// ForgetServer drops what was counted of a server that is not configured any more.
func (m *Metrics) ForgetServer(backend, server string) {
	m.greetings.DeleteLabelValues(backend, server)
}

func (m *Metrics) serverMetrics() {
	desc := func(kind, name, help string, labels ...string) *prometheus.Desc {
		m.describe(kind, name, help, labels)
		return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
	}
	s := &m.servers
	s.up = desc("gauge", "server_up", "How many addresses of a server get new sessions now; 0 is a server that is down or drained.", "backend", "server")
	s.addresses = desc("gauge", "server_addresses", "How many addresses a server has.", "backend", "server")
	s.sessions = desc("gauge", "server_sessions", "Sessions at a server now.", "backend", "server")
	s.failures = desc("counter", "server_failures_total", "Sessions for which a server was not ready, by kind: connect, greeting or tls.", "backend", "server", "kind")
	s.checkOK = desc("gauge", "server_check_successful", "1 if the last check of a server succeeded at all its addresses, else 0.", "backend", "server")
	s.checkSeconds = desc("gauge", "server_check_duration_seconds", "How long the last check of a server took, at its slowest address.", "backend", "server")
	m.registry.MustRegister(s)

	const name, help = "server_greeting_seconds", "Time from connecting to a server until it was ready for a session: its greeting, and its TLS handshake where there is one."
	m.greetings = prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help,
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"backend", "server"})
	m.register(m.greetings, "histogram", name, help, []string{"backend", "server"})
}

// Describe is prometheus.Collector's.
func (s *servers) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.up, s.addresses, s.sessions, s.failures, s.checkOK, s.checkSeconds} {
		out <- d
	}
}

// Collect is prometheus.Collector's.
func (s *servers) Collect(out chan<- prometheus.Metric) {
	s.mu.Lock()
	read := s.read
	s.mu.Unlock()
	if read == nil {
		return
	}
	for _, sv := range read() {
		gauge := func(d *prometheus.Desc, value float64) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, sv.Backend, sv.Name)
		}
		gauge(s.up, float64(sv.Up))
		gauge(s.addresses, float64(sv.Addresses))
		gauge(s.sessions, float64(sv.Sessions))
		for _, kind := range []string{"connect", "greeting", "tls"} {
			out <- prometheus.MustNewConstMetric(s.failures, prometheus.CounterValue, float64(sv.Failures[kind]), sv.Backend, sv.Name, kind)
		}
		if sv.Checked {
			ok := 0.0
			if sv.CheckOK {
				ok = 1
			}
			gauge(s.checkOK, ok)
			gauge(s.checkSeconds, sv.CheckSeconds)
		}
	}
}
