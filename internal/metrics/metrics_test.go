package metrics

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// exercised returns metrics to which every event happened, so that every one of
// them has a sample.
func exercised() *Metrics {
	m := New("v1.2.3")
	m.ConfigurationLoaded(true, time.UnixMilli(1500))
	m.ConfigurationLoaded(false, time.UnixMilli(2500))
	m.SessionStarted("public")
	m.SessionStarted("public")
	m.SessionEnded("public", "quit")
	m.SessionRefused("public", "limit")
	m.ProxyHeaderRefused("public", "missing")
	m.CommandReceived("login")
	m.CommandRefused(502)
	m.UnsolicitedReply("legacy")
	m.TransferStarted(Download, func() int64 { return 0 })
	m.TransferEnded(m.TransferStarted(Upload, func() int64 { return 900 }), Client, 1000)
	m.LeaseTaken("30000-30099")
	m.LeaseTaken("30000-30099")
	m.LeaseReturned("30000-30099")
	m.LeaseWaiting("30000-30099")
	m.LeaseFull("30000-30099")
	m.LeaseEvicted("30000-30099")
	m.DataLate()
	m.DataUnproven()
	m.StrangerClosed(Client)
	m.ServerConnectFailed("legacy")
	m.LoginFailed("public")
	m.TLSHandshake("public", true)
	m.ServerTLSHandshake("legacy", false)
	m.DataReuseRefused("public")
	m.Certificates([]Certificate{{"public", "ftp.example.com", time.Unix(2_000_000_000, 0)}})
	m.Unverified(map[string]bool{"legacy": true})
	m.ServerGreeted("legacy", "10.0.0.5:21", time.Second)
	m.Servers(func() []ServerNow {
		return []ServerNow{{Backend: "legacy", Name: "10.0.0.5:21", Up: 1, Addresses: 1, Sessions: 3, Checked: true, CheckOK: true, CheckSeconds: 0.1}}
	})
	return m
}

// Dashboards and alerts are written against these names: a change here is a
// change for the users, and is written down in the CHANGELOG.
func TestNames(t *testing.T) {
	want := []string{
		"ftproxy_build_info version,goversion",
		"ftproxy_certificate_expiry_timestamp_seconds frontend,certificate",
		"ftproxy_commands_refused_total code",
		"ftproxy_commands_total class",
		"ftproxy_config_last_reload_success_timestamp_seconds ",
		"ftproxy_config_last_reload_successful ",
		"ftproxy_data_late_total ",
		"ftproxy_data_port_evictions_total range",
		"ftproxy_data_port_full_total range",
		"ftproxy_data_port_leases_pending range",
		"ftproxy_data_port_leases_total range",
		"ftproxy_data_port_waits_total range",
		"ftproxy_data_reuse_refused_total frontend",
		"ftproxy_data_strangers_closed_total side",
		"ftproxy_data_unproven_closed_total ",
		"ftproxy_login_failures_total frontend",
		"ftproxy_proxy_headers_refused_total frontend,reason",
		"ftproxy_server_addresses backend,server",
		"ftproxy_server_check_duration_seconds backend,server",
		"ftproxy_server_check_successful backend,server",
		"ftproxy_server_connect_failures_total backend",
		"ftproxy_server_failures_total backend,server,kind",
		"ftproxy_server_greeting_seconds backend,server",
		"ftproxy_server_sessions backend,server",
		"ftproxy_server_tls_handshakes_total backend,result",
		"ftproxy_server_up backend,server",
		"ftproxy_servers_unverified backend",
		"ftproxy_sessions_active frontend",
		"ftproxy_sessions_ended_total frontend,reason",
		"ftproxy_sessions_refused_total frontend,reason",
		"ftproxy_sessions_started_total frontend",
		"ftproxy_tls_handshakes_total frontend,result",
		"ftproxy_transfer_bytes_total direction",
		"ftproxy_transfers_active direction",
		"ftproxy_transfers_total direction,result",
		"ftproxy_unsolicited_replies_total backend",
	}
	m := exercised()
	var got []string
	for _, d := range m.Describe() {
		got = append(got, d.Name+" "+strings.Join(d.Labels, ","))
	}
	if !slices.Equal(got, want) {
		t.Errorf("Describe:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What Describe says is what /metrics shows: name, type, help and labels.
func TestDescribeMatchesRegistry(t *testing.T) {
	m := exercised()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]Description{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "ftproxy_") {
			continue
		}
		d := Description{Name: f.GetName(), Type: strings.ToLower(f.GetType().String()), Help: f.GetHelp()}
		for _, l := range f.GetMetric()[0].GetLabel() {
			d.Labels = append(d.Labels, l.GetName())
		}
		shown[d.Name] = d
	}
	described := m.Describe()
	if len(shown) != len(described) {
		t.Errorf("%d metrics are shown, %d described", len(shown), len(described))
	}
	for _, d := range described {
		s := shown[d.Name]
		slices.Sort(d.Labels)
		slices.Sort(s.Labels)
		if s.Name != d.Name || s.Type != d.Type || s.Help != d.Help || !slices.Equal(s.Labels, d.Labels) {
			t.Errorf("shown %+v, described %+v", s, d)
		}
	}
}

func TestPromlint(t *testing.T) {
	problems, err := testutil.GatherAndLint(exercised().Registry())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestEvents(t *testing.T) {
	const want = `
# HELP ftproxy_certificate_expiry_timestamp_seconds When a certificate that clients are shown ceases to be valid, in seconds since 1970.
# TYPE ftproxy_certificate_expiry_timestamp_seconds gauge
ftproxy_certificate_expiry_timestamp_seconds{certificate="ftp.example.com",frontend="public"} 2e+09
# HELP ftproxy_config_last_reload_success_timestamp_seconds When a configuration was last put in force, in seconds since 1970.
# TYPE ftproxy_config_last_reload_success_timestamp_seconds gauge
ftproxy_config_last_reload_success_timestamp_seconds 1.5
# HELP ftproxy_config_last_reload_successful 1 if the configuration in the file was put in force the last time that was asked for, 0 if it was refused.
# TYPE ftproxy_config_last_reload_successful gauge
ftproxy_config_last_reload_successful 0
# HELP ftproxy_sessions_active Sessions open now.
# TYPE ftproxy_sessions_active gauge
ftproxy_sessions_active{frontend="public"} 1
# HELP ftproxy_sessions_started_total Sessions started.
# TYPE ftproxy_sessions_started_total counter
ftproxy_sessions_started_total{frontend="public"} 2
# HELP ftproxy_sessions_ended_total Sessions ended, by reason.
# TYPE ftproxy_sessions_ended_total counter
ftproxy_sessions_ended_total{frontend="public",reason="quit"} 1
# HELP ftproxy_sessions_refused_total Client connections refused before a session started, by reason.
# TYPE ftproxy_sessions_refused_total counter
ftproxy_sessions_refused_total{frontend="public",reason="limit"} 1
# HELP ftproxy_proxy_headers_refused_total Connections closed because their PROXY header was not usable, by reason.
# TYPE ftproxy_proxy_headers_refused_total counter
ftproxy_proxy_headers_refused_total{frontend="public",reason="missing"} 1
# HELP ftproxy_commands_total Commands received from clients, by class of verb.
# TYPE ftproxy_commands_total counter
ftproxy_commands_total{class="login"} 1
# HELP ftproxy_commands_refused_total Commands that ftproxy refused itself, by reply code.
# TYPE ftproxy_commands_refused_total counter
ftproxy_commands_refused_total{code="502"} 1
# HELP ftproxy_unsolicited_replies_total Replies of servers to no command, dropped or ending the session.
# TYPE ftproxy_unsolicited_replies_total counter
ftproxy_unsolicited_replies_total{backend="legacy"} 1
# HELP ftproxy_transfers_active Transfers running now.
# TYPE ftproxy_transfers_active gauge
ftproxy_transfers_active{direction="download"} 1
ftproxy_transfers_active{direction="upload"} 0
# HELP ftproxy_transfers_total Transfers ended, by result: ok, or the side that failed.
# TYPE ftproxy_transfers_total counter
ftproxy_transfers_total{direction="download",result="client"} 0
ftproxy_transfers_total{direction="download",result="ok"} 0
ftproxy_transfers_total{direction="download",result="proxy"} 0
ftproxy_transfers_total{direction="download",result="server"} 0
ftproxy_transfers_total{direction="upload",result="client"} 1
ftproxy_transfers_total{direction="upload",result="ok"} 0
ftproxy_transfers_total{direction="upload",result="proxy"} 0
ftproxy_transfers_total{direction="upload",result="server"} 0
# HELP ftproxy_transfer_bytes_total Payload bytes moved so far, those of running and of failed transfers included.
# TYPE ftproxy_transfer_bytes_total counter
ftproxy_transfer_bytes_total{direction="download"} 0
ftproxy_transfer_bytes_total{direction="upload"} 1000
# HELP ftproxy_data_port_leases_pending Data ports on loan now, by port range.
# TYPE ftproxy_data_port_leases_pending gauge
ftproxy_data_port_leases_pending{range="30000-30099"} 1
# HELP ftproxy_data_port_leases_total Data ports lent.
# TYPE ftproxy_data_port_leases_total counter
ftproxy_data_port_leases_total{range="30000-30099"} 2
# HELP ftproxy_data_port_waits_total Requests for a data port that had to wait for one.
# TYPE ftproxy_data_port_waits_total counter
ftproxy_data_port_waits_total{range="30000-30099"} 1
# HELP ftproxy_data_port_full_total Requests for a data port that waited in vain.
# TYPE ftproxy_data_port_full_total counter
ftproxy_data_port_full_total{range="30000-30099"} 1
# HELP ftproxy_data_late_total Data connections reset because they came after their lease was given up.
# TYPE ftproxy_data_late_total counter
ftproxy_data_late_total 1
# HELP ftproxy_data_unproven_closed_total Data connections reset because too many of one peer waited to prove whose they are.
# TYPE ftproxy_data_unproven_closed_total counter
ftproxy_data_unproven_closed_total 1
# HELP ftproxy_data_port_evictions_total Sessions ended because others waited for the data port that they never used.
# TYPE ftproxy_data_port_evictions_total counter
ftproxy_data_port_evictions_total{range="30000-30099"} 1
# HELP ftproxy_data_strangers_closed_total Connections to a data port closed because their peer had no lease there.
# TYPE ftproxy_data_strangers_closed_total counter
ftproxy_data_strangers_closed_total{side="client"} 1
ftproxy_data_strangers_closed_total{side="server"} 0
# HELP ftproxy_login_failures_total Logins that a server refused.
# TYPE ftproxy_login_failures_total counter
ftproxy_login_failures_total{frontend="public"} 1
# HELP ftproxy_server_addresses How many addresses a server has.
# TYPE ftproxy_server_addresses gauge
ftproxy_server_addresses{backend="legacy",server="10.0.0.5:21"} 1
# HELP ftproxy_server_check_duration_seconds How long the last check of a server took, at its slowest address.
# TYPE ftproxy_server_check_duration_seconds gauge
ftproxy_server_check_duration_seconds{backend="legacy",server="10.0.0.5:21"} 0.1
# HELP ftproxy_server_check_successful 1 if the last check of a server succeeded at all its addresses, else 0.
# TYPE ftproxy_server_check_successful gauge
ftproxy_server_check_successful{backend="legacy",server="10.0.0.5:21"} 1
# HELP ftproxy_server_failures_total Sessions for which a server was not ready, by kind: connect, greeting or tls.
# TYPE ftproxy_server_failures_total counter
ftproxy_server_failures_total{backend="legacy",kind="connect",server="10.0.0.5:21"} 0
ftproxy_server_failures_total{backend="legacy",kind="greeting",server="10.0.0.5:21"} 0
ftproxy_server_failures_total{backend="legacy",kind="tls",server="10.0.0.5:21"} 0
# HELP ftproxy_server_sessions Sessions at a server now.
# TYPE ftproxy_server_sessions gauge
ftproxy_server_sessions{backend="legacy",server="10.0.0.5:21"} 3
# HELP ftproxy_server_up How many addresses of a server get new sessions now; 0 is a server that is down or drained.
# TYPE ftproxy_server_up gauge
ftproxy_server_up{backend="legacy",server="10.0.0.5:21"} 1
# HELP ftproxy_server_greeting_seconds Time from connecting to a server until it was ready for a session: its greeting, and its TLS handshake where there is one.
# TYPE ftproxy_server_greeting_seconds histogram
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="0.001"} 0
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="0.0025"} 0
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="0.005"} 0
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="0.01"} 0
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="0.025"} 0
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="0.05"} 0
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="0.1"} 0
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="0.25"} 0
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="0.5"} 0
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="1"} 1
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="2.5"} 1
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="5"} 1
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="10"} 1
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="30"} 1
ftproxy_server_greeting_seconds_bucket{backend="legacy",server="10.0.0.5:21",le="+Inf"} 1
ftproxy_server_greeting_seconds_sum{backend="legacy",server="10.0.0.5:21"} 1
ftproxy_server_greeting_seconds_count{backend="legacy",server="10.0.0.5:21"} 1
# HELP ftproxy_server_connect_failures_total Failed attempts to open a control connection to a server.
# TYPE ftproxy_server_connect_failures_total counter
ftproxy_server_connect_failures_total{backend="legacy"} 1
# HELP ftproxy_tls_handshakes_total TLS handshakes with clients on control connections, by result: ok or failed.
# TYPE ftproxy_tls_handshakes_total counter
ftproxy_tls_handshakes_total{frontend="public",result="ok"} 1
# HELP ftproxy_server_tls_handshakes_total TLS handshakes with servers on control connections, by result: ok or failed.
# TYPE ftproxy_server_tls_handshakes_total counter
ftproxy_server_tls_handshakes_total{backend="legacy",result="failed"} 1
# HELP ftproxy_data_reuse_refused_total Clients' data connections refused because they did not resume the TLS session of a control connection.
# TYPE ftproxy_data_reuse_refused_total counter
ftproxy_data_reuse_refused_total{frontend="public"} 1
# HELP ftproxy_servers_unverified 1 if the certificates of a backend's servers are not verified (insecure_skip_verify), else 0.
# TYPE ftproxy_servers_unverified gauge
ftproxy_servers_unverified{backend="legacy"} 1
`
	m := exercised()
	var names []string
	for _, d := range m.Describe() {
		if d.Name != "ftproxy_build_info" { // its goversion is the compiler's
			names = append(names, d.Name)
		}
	}
	if err := testutil.GatherAndCompare(m.Registry(), strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

// A byte count below zero would make a counter panic.
func TestTransferEndedNeverPanics(t *testing.T) {
	m := New("")
	m.TransferEnded(m.TransferStarted(Download, func() int64 { return 0 }), Proxy, -1)
	if got := testutil.ToFloat64(m.transferBytes.WithLabelValues(Download)); got != 0 {
		t.Errorf("bytes = %v, want 0", got)
	}
}

func TestHandler(t *testing.T) {
	answer := httptest.NewRecorder()
	exercised().Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		`ftproxy_sessions_active{frontend="public"} 1`,
		`ftproxy_build_info{goversion="go`,
		`version="v1.2.3"} 1`,
		"go_goroutines ",
		"process_open_fds ",
	} {
		if !strings.Contains(answer.Body.String(), line) {
			t.Errorf("/metrics lacks %q", line)
		}
	}
}

// What a configuration names can be seen, at zero, before anything happens.
func TestDeclare(t *testing.T) {
	m := New("")
	m.Declare("public", "legacy", "30000-30099", "31000-31099")
	const want = `
# HELP ftproxy_data_port_full_total Requests for a data port that waited in vain.
# TYPE ftproxy_data_port_full_total counter
ftproxy_data_port_full_total{range="30000-30099"} 0
ftproxy_data_port_full_total{range="31000-31099"} 0
# HELP ftproxy_server_connect_failures_total Failed attempts to open a control connection to a server.
# TYPE ftproxy_server_connect_failures_total counter
ftproxy_server_connect_failures_total{backend="legacy"} 0
# HELP ftproxy_sessions_active Sessions open now.
# TYPE ftproxy_sessions_active gauge
ftproxy_sessions_active{frontend="public"} 0
`
	if err := testutil.GatherAndCompare(m.Registry(), strings.NewReader(want), "ftproxy_data_port_full_total",
		"ftproxy_server_connect_failures_total", "ftproxy_sessions_active"); err != nil {
		t.Error(err)
	}
}
