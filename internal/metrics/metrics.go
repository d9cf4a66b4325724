// Package metrics holds every Prometheus metric of ftproxy. The engine tells it
// what happened; names, labels and their meaning are decided here alone.
//
// Labels are bounded by the configuration (frontend, backend, server, range) or by the
// program (reason, class, code, direction, result, side, kind). No user name, path or
// address is ever one.
package metrics

import (
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The directions of a transfer, as the client sees it.
const (
	Download = "download"
	Upload   = "upload"
)

// The results of a transfer: it succeeded, or the side that failed it.
const (
	OK     = "ok"
	Client = "client"
	Server = "server"
	Proxy  = "proxy"
)

// Metrics counts the events of one process. Its methods may be called from any
// goroutine. Create it with New.
type Metrics struct {
	registry     *prometheus.Registry
	descriptions []Description

	reloadOK, reloadTime prometheus.Gauge

	sessionsActive  *prometheus.GaugeVec
	sessionsStarted *prometheus.CounterVec
	sessionsEnded   *prometheus.CounterVec
	sessionsRefused *prometheus.CounterVec
	headersRefused  *prometheus.CounterVec

	loginFailures      *prometheus.CounterVec
	commands           *prometheus.CounterVec
	commandsRefused    *prometheus.CounterVec
	unsolicitedReplies *prometheus.CounterVec

	transfersActive *prometheus.GaugeVec
	transfers       *prometheus.CounterVec
	transferBytes   *prometheus.CounterVec
	running         running

	leasesPending   *prometheus.GaugeVec
	leases          *prometheus.CounterVec
	leaseWaits      *prometheus.CounterVec
	leasesRefused   *prometheus.CounterVec
	strangersClosed *prometheus.CounterVec
	evictions       *prometheus.CounterVec
	late, unproven  prometheus.Counter

	connectFailures *prometheus.CounterVec
	servers         servers
	greetings       *prometheus.HistogramVec

	tlsHandshakes, serverTLSHandshakes *prometheus.CounterVec
	reuseRefused                       *prometheus.CounterVec
	certificateExpiry, unverified      *prometheus.GaugeVec
}

// A Description says what one metric is called and what it means.
type Description struct {
	Name   string
	Type   string // "counter", "gauge" or "histogram"
	Help   string
	Labels []string
}

// New returns metrics with a registry of their own, which also collects Go's
// and the process's own figures. version is the version of the build.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)

	m.gauge("build_info", "Always 1; the labels say which build this is.",
		"version", "goversion").WithLabelValues(version, runtime.Version()).Set(1)

	m.reloadOK = m.gauge("config_last_reload_successful",
		"1 if the configuration in the file was put in force the last time that was asked for, 0 if it was refused.").WithLabelValues()
	m.reloadTime = m.gauge("config_last_reload_success_timestamp_seconds",
		"When a configuration was last put in force, in seconds since 1970.").WithLabelValues()

	m.sessionsActive = m.gauge("sessions_active", "Sessions open now.", "frontend")
	m.sessionsStarted = m.counter("sessions_started_total", "Sessions started.", "frontend")
	m.sessionsEnded = m.counter("sessions_ended_total", "Sessions ended, by reason.", "frontend", "reason")
	m.sessionsRefused = m.counter("sessions_refused_total",
		"Client connections refused before a session started, by reason.", "frontend", "reason")

	m.headersRefused = m.counter("proxy_headers_refused_total",
		"Connections closed because their PROXY header was not usable, by reason.", "frontend", "reason")

	m.loginFailures = m.counter("login_failures_total", "Logins that a server refused.", "frontend")
	m.commands = m.counter("commands_total", "Commands received from clients, by class of verb.", "class")
	m.commandsRefused = m.counter("commands_refused_total",
		"Commands that ftproxy refused itself, by reply code.", "code")
	m.unsolicitedReplies = m.counter("unsolicited_replies_total",
		"Replies of servers to no command, dropped or ending the session.", "backend")

	m.transfersActive = m.gauge("transfers_active", "Transfers running now.", "direction")
	m.transfers = m.counter("transfers_total",
		"Transfers ended, by result: ok, or the side that failed.", "direction", "result")
	m.transferBytes = m.bytesCounter("transfer_bytes_total",
		"Payload bytes moved so far, those of running and of failed transfers included.", "direction")

	m.leasesPending = m.gauge("data_port_leases_pending",
		"Data ports on loan now, by port range.", "range")
	m.leases = m.counter("data_port_leases_total", "Data ports lent.", "range")
	m.leaseWaits = m.counter("data_port_waits_total",
		"Requests for a data port that had to wait for one.", "range")
	m.leasesRefused = m.counter("data_port_full_total",
		"Requests for a data port that waited in vain.", "range")
	m.strangersClosed = m.counter("data_strangers_closed_total",
		"Connections to a data port closed because their peer had no lease there.", "side")

	m.evictions = m.counter("data_port_evictions_total",
		"Sessions ended because others waited for the data port that they never used.", "range")
	m.late = m.counter("data_late_total",
		"Data connections reset because they came after their lease was given up.").WithLabelValues()
	m.unproven = m.counter("data_unproven_closed_total",
		"Data connections reset because too many of one peer waited to prove whose they are.").WithLabelValues()

	m.connectFailures = m.counter("server_connect_failures_total",
		"Failed attempts to open a control connection to a server.", "backend")
	m.serverMetrics()

	m.tlsHandshakes = m.counter("tls_handshakes_total",
		"TLS handshakes with clients on control connections, by result: ok or failed.", "frontend", "result")
	m.serverTLSHandshakes = m.counter("server_tls_handshakes_total",
		"TLS handshakes with servers on control connections, by result: ok or failed.", "backend", "result")
	m.reuseRefused = m.counter("data_reuse_refused_total",
		"Clients' data connections refused because they did not resume the TLS session of a control connection.", "frontend")
	m.certificateExpiry = m.gauge("certificate_expiry_timestamp_seconds",
		"When a certificate that clients are shown ceases to be valid, in seconds since 1970.", "frontend", "certificate")
	m.unverified = m.gauge("servers_unverified",
		"1 if the certificates of a backend's servers are not verified (insecure_skip_verify), else 0.", "backend")

	m.strangersClosed.WithLabelValues(Client)
	m.strangersClosed.WithLabelValues(Server)
	for _, direction := range []string{Download, Upload} {
		m.transfersActive.WithLabelValues(direction)
		m.transferBytes.WithLabelValues(direction)
		for _, result := range []string{OK, Client, Server, Proxy} {
			m.transfers.WithLabelValues(direction, result)
		}
	}
	return m
}

const namespace = "ftproxy"

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.register(v, "counter", name, help, labels)
	return v
}

func (m *Metrics) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.register(v, "gauge", name, help, labels)
	return v
}

func (m *Metrics) register(c prometheus.Collector, kind, name, help string, labels []string) {
	m.registry.MustRegister(c)
	m.describe(kind, name, help, labels)
}

func (m *Metrics) describe(kind, name, help string, labels []string) {
	m.descriptions = append(m.descriptions, Description{
		Name: namespace + "_" + name, Type: kind, Help: help, Labels: labels,
	})
}

// maxScrapes at once are answered; more get 503.
const maxScrapes = 4

// Handler answers a scrape with all metrics, in the format the scraper prefers.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}

// Registry is what Handler shows.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Describe lists the metrics of ftproxy by name, without those of Go and of the
// process. The documentation is compared with it.
func (m *Metrics) Describe() []Description {
	d := slices.Clone(m.descriptions)
	slices.SortFunc(d, func(a, b Description) int { return strings.Compare(a.Name, b.Name) })
	return d
}

// Declare makes the series of a frontend, its backend and their port ranges
// exist before anything happens there: what does not exist cannot increase.
func (m *Metrics) Declare(frontend, backend string, ports ...string) {
	m.sessionsActive.WithLabelValues(frontend)
	m.sessionsStarted.WithLabelValues(frontend)
	m.loginFailures.WithLabelValues(frontend)
	m.unsolicitedReplies.WithLabelValues(backend)
	m.connectFailures.WithLabelValues(backend)
	for _, r := range ports {
		m.leasesPending.WithLabelValues(r)
		m.leases.WithLabelValues(r)
		m.leaseWaits.WithLabelValues(r)
		m.leasesRefused.WithLabelValues(r)
		m.evictions.WithLabelValues(r)
	}
}

// ConfigurationLoaded tells that a configuration was put in force at a time, or
// refused.
func (m *Metrics) ConfigurationLoaded(ok bool, at time.Time) {
	if !ok {
		m.reloadOK.Set(0)
		return
	}
	m.reloadOK.Set(1)
	m.reloadTime.Set(float64(at.UnixMilli()) / 1000)
}

// SessionStarted counts a client connection that became a session.
func (m *Metrics) SessionStarted(frontend string) {
	m.sessionsStarted.WithLabelValues(frontend).Inc()
	m.sessionsActive.WithLabelValues(frontend).Inc()
}

// SessionEnded is told once for each SessionStarted. reason is one of a few
// words that the engine knows, never the text of an error.
func (m *Metrics) SessionEnded(frontend, reason string) {
	m.sessionsActive.WithLabelValues(frontend).Dec()
	m.sessionsEnded.WithLabelValues(frontend, reason).Inc()
}

// ProxyHeaderRefused tells that a connection to a frontend was closed because of its
// PROXY header, and why.
func (m *Metrics) ProxyHeaderRefused(frontend, reason string) {
	m.headersRefused.WithLabelValues(frontend, reason).Inc()
}

// SessionRefused counts a client connection closed at a limit.
func (m *Metrics) SessionRefused(frontend, reason string) {
	m.sessionsRefused.WithLabelValues(frontend, reason).Inc()
}

// LoginFailed counts an answer of a server that ends or begins no login.
func (m *Metrics) LoginFailed(frontend string) {
	m.loginFailures.WithLabelValues(frontend).Inc()
}

// CommandReceived counts a command by the class of its verb. A verb itself is
// the client's text, and so no label.
func (m *Metrics) CommandReceived(class string) {
	m.commands.WithLabelValues(class).Inc()
}

// CommandRefused counts a command that ftproxy answered with code, a refusal,
// so that no server saw it.
func (m *Metrics) CommandRefused(code int) {
	m.commandsRefused.WithLabelValues(strconv.Itoa(code)).Inc()
}

// UnsolicitedReply counts a reply to no command.
func (m *Metrics) UnsolicitedReply(backend string) {
	m.unsolicitedReplies.WithLabelValues(backend).Inc()
}

// LeaseTaken counts a data port lent; ports is the range as it is configured,
// "30000-30099".
func (m *Metrics) LeaseTaken(ports string) {
	m.leases.WithLabelValues(ports).Inc()
	m.leasesPending.WithLabelValues(ports).Inc()
}

// LeaseEvicted counts a session that is asked to leave because of its data port.
func (m *Metrics) LeaseEvicted(ports string) { m.evictions.WithLabelValues(ports).Inc() }

// DataLate counts a data connection that came too late.
func (m *Metrics) DataLate() { m.late.Inc() }

// DataUnproven counts a data connection that made room for others.
func (m *Metrics) DataUnproven() { m.unproven.Inc() }

// LeaseReturned is told once for each LeaseTaken.
func (m *Metrics) LeaseReturned(ports string) {
	m.leasesPending.WithLabelValues(ports).Dec()
}

// LeaseWaiting counts a request that found every port of the range pending.
func (m *Metrics) LeaseWaiting(ports string) {
	m.leaseWaits.WithLabelValues(ports).Inc()
}

// LeaseFull counts a request that ended without a port.
func (m *Metrics) LeaseFull(ports string) {
	m.leasesRefused.WithLabelValues(ports).Inc()
}

// StrangerClosed counts a connection to a data port from a peer without a lease
// there. side is Client for passive_ports, Server for data_ports.
func (m *Metrics) StrangerClosed(side string) {
	m.strangersClosed.WithLabelValues(side).Inc()
}

// ServerGreeted tells that a server of backend, by its name in the configuration, was ready
// for a session after a time.
func (m *Metrics) ServerGreeted(backend, server string, after time.Duration) {
	m.greetings.WithLabelValues(backend, server).Observe(after.Seconds())
}

// ServerConnectFailed counts a failed attempt to reach a server of backend.
func (m *Metrics) ServerConnectFailed(backend string) {
	m.connectFailures.WithLabelValues(backend).Inc()
}
