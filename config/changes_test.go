package config

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// settled is a configuration by its keys. altered has another value for each
// key of the schema, and nothing but that key changes with it.
var (
	settled = map[string]string{
		"frontend.one.listen":              `[":21"]`,
		"frontend.one.proxy_protocol":      `true`,
		"frontend.one.data_proxy_protocol": `true`,
		"frontend.one.trusted_proxies":     `["10.0.0.2/32"]`,
		"frontend.one.backend":             `"b"`,
		"frontend.one.banner":              `"Files."`,
		"backend.b.servers":                `["10.0.0.5:21"]`,
		"backend.b.source":                 `"client"`,
		"backend.b.send_proxy":             `"v2"`,
		"backend.b.send_proxy_data":        `true`,
		"backend.c.servers":                `["10.0.0.6:21"]`,
		"backend.t.server.big.address":     `"10.0.0.7:21"`,
		"backend.b.check.kind":             `"login"`,
		"backend.b.check.user":             `"probe"`,
		"backend.b.check.password_file":    `"/etc/b.password"`,

		"frontend.one.tls.mode":               `"required"`,
		"frontend.one.tls.certificate":        `["/etc/one.pem"]`,
		"frontend.one.tls.client_ca":          `"/etc/clients.pem"`,
		"frontend.one.tls.client_certificate": `"optional"`,
		"backend.b.tls.mode":                  `"explicit"`,
		"backend.b.tls.certificate":           `"/etc/b.pem"`,
	}
	altered = map[string][2]string{ // the value that settled has, and another; as Changes writes them
		"log.level":                                {`"info"`, `"debug"`},
		"log.format":                               {`"json"`, `"console"`},
		"admin.listen":                             {`""`, `"[::1]:9121"`},
		"control.socket":                           {`""`, `"/run/ftproxy/control.sock"`},
		"timeouts.connect":                         {`"5s"`, `"500ms"`},
		"timeouts.greeting":                        {`"30s"`, `"31s"`},
		"timeouts.login":                           {`"1m"`, `"2m"`},
		"timeouts.idle":                            {`"10m"`, `"1h30m"`},
		"timeouts.reply":                           {`"5m"`, `"1h"`},
		"timeouts.final_reply":                     {`"10m"`, `"1h0m5s"`},
		"timeouts.port_wait":                       {`"5s"`, `"7s"`},
		"timeouts.data_connect":                    {`"30s"`, `"31s"`},
		"timeouts.data_stall":                      {`"5m"`, `"5m1s"`},
		"timeouts.client_write":                    {`"1m"`, `"1m30s"`},
		"timeouts.proxy_header":                    {`"5s"`, `"2s"`},
		"timeouts.tls_handshake":                   {`"10s"`, `"15s"`},
		"timeouts.linger":                          {`"5s"`, `"1.5s"`},
		"timeouts.shutdown_delay":                  {`"0s"`, `"10s"`},
		"timeouts.drain":                           {`"10m"`, `"9m"`},
		"limits.sessions":                          {`2500`, `100`},
		"limits.sessions_per_client":               {`0`, `10`},
		"limits.transfers":                         {`0`, `50`},
		"frontend.one.listen":                      {`[":21"]`, `[":2121", "127.0.0.1:990", "[2001:db8::1]:990"]`},
		"frontend.one.proxy_protocol":              {`true`, `false`},
		"frontend.one.data_proxy_protocol":         {`true`, `false`},
		"frontend.one.trusted_proxies":             {`["10.0.0.2/32"]`, `["10.0.0.0/8", "2001:db8::2/128"]`},
		"frontend.one.proxy_header_after_greeting": {`false`, `true`},
		"frontend.one.public_address":              {`"auto"`, `["203.0.113.9", "2001:db8::9", "ftp.example.net"]`},
		"frontend.one.public_address_for":          {`{}`, `{ "2001:db8::/32" = ["2001:db8::9", "b.example", "a.example"], "10.1.0.0/16" = "203.0.113.9", "10.0.0.0/8" = "auto" }`},
		"frontend.one.advertised_port_offset":      {`0`, `-1000`},
		"frontend.one.passive_ports":               {`"30000-30099"`, `"40000"`},
		"frontend.one.passive_bind":                {`""`, `["0.0.0.0", "::"]`},
		"frontend.one.freebind":                    {`false`, `true`},
		"frontend.one.data_peer":                   {`"exact"`, `["/24", "/64"]`},
		"frontend.one.active_source_ports":         {`[]`, `["41000-41009", "20"]`},
		"frontend.one.allow_foreign_data":          {`[]`, `["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]`},
		"frontend.one.bandwidth":                   {`""`, `"12.5MB/s"`},
		"frontend.one.session_bandwidth":           {`""`, `"1.001kB/s"`},
		"frontend.one.backend":                     {`"b"`, `"c"`},
		"frontend.one.banner":                      {`"Files."`, `"Grüße \"you\" \\ \U000E0001\u200B"`},
		"backend.b.servers":                        {`["10.0.0.5:21"]`, `["[2001:db8::5]:2121", "ftp.example.net:21", "srv:_ftp._tcp.example.net", "10.0.0.5:21"]`},
		"backend.b.data":                           {`"client"`, `"passive"`},
		"backend.b.data_ports":                     {`"31000-31099"`, `"50000-50001"`},
		"backend.b.trust_data_address":             {`[]`, `["10.9.0.0/16"]`},
		"backend.b.source":                         {`"client"`, `["10.0.0.2", "fd00::2"]`},
		"backend.b.source_other_family":            {`"refuse"`, `"own"`},
		"backend.b.send_proxy":                     {`"v2"`, `"v1"`},
		"backend.b.send_proxy_data":                {`true`, `false`},
		"backend.b.bandwidth":                      {`""`, `"2GB/s"`},
		"backend.b.balance":                        {`"first"`, `"leastconn"`},
		"backend.b.queue":                          {`100`, `0`},
		"backend.b.slow_start":                     {`"0s"`, `"30s"`},
		"frontend.one.close_when_down":             {`false`, `true`},
		"backend.t.server.big.address":             {`"10.0.0.7:21"`, `"srv:_ftp._tcp.example.net"`},
		"backend.t.server.big.weight":              {`1`, `256`},
		"backend.t.server.big.backup":              {`false`, `true`},
		"backend.t.server.big.max_sessions":        {`0`, `200`},
		"backend.c.check.kind":                     {`"off"`, `"ftp"`},
		"backend.b.check.interval":                 {`"5s"`, `"100ms"`},
		"backend.b.check.timeout":                  {`"5s"`, `"1s"`},
		"backend.b.check.rise":                     {`2`, `1`},
		"backend.b.check.fall":                     {`3`, `4`},
		"backend.b.check.user":                     {`"probe"`, `"other user"`},
		"backend.b.check.password_file":            {`"/etc/b.password"`, `"/etc/c.password"`},
		"backend.b.check.agent_port":               {`0`, `9999`},

		"frontend.one.tls.mode":               {`"required"`, `"implicit"`},
		"frontend.one.tls.certificate":        {`["/etc/one.pem"]`, `["/etc/ftp.pem"]`},
		"frontend.one.tls.key":                {`[]`, `["/etc/one.key"]`},
		"frontend.one.tls.client_ca":          {`"/etc/clients.pem"`, `"/etc/ca.pem"`},
		"frontend.one.tls.client_certificate": {`"optional"`, `"required"`},
		"frontend.one.tls.require_data":       {`true`, `false`},
		"frontend.one.tls.ciphers":            {`"default"`, `"legacy"`},
		"frontend.one.tls.session_reuse":      {`"off"`, `"offer"`},
		"frontend.one.tls.strict_eof":         {`false`, `true`},
		"frontend.one.tls.min_version":        {`"1.2"`, `"1.3"`},
		"frontend.one.tls.max_version":        {`"1.3"`, `"1.2"`},
		"backend.b.tls.mode":                  {`"explicit"`, `"implicit"`},
		"backend.b.tls.data":                  {`"private"`, `"same-as-client"`},
		"backend.b.tls.ca":                    {`""`, `"/etc/servers.pem"`},
		"backend.b.tls.server_name":           {`""`, `"ftp.example.net"`},
		"backend.b.tls.fingerprint":           {`""`, `"sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"`},
		"backend.b.tls.ciphers":               {`"default"`, `"legacy"`},
		"backend.b.tls.certificate":           {`"/etc/b.pem"`, `"/etc/c.pem"`},
		"backend.b.tls.key":                   {`""`, `"/etc/b.key"`},
		"backend.b.tls.insecure_skip_verify":  {`false`, `true`},
		"backend.b.tls.strict_eof":            {`false`, `true`},
		"backend.b.tls.min_version":           {`"1.2"`, `"1.0"`},
		"backend.b.tls.max_version":           {`"1.3"`, `"1.2"`},
	}
)

// dotted writes a configuration, each key with its whole path.
func dotted(keys map[string]string) string {
	var b strings.Builder
	for _, key := range sortedKeys(keys) {
		b.WriteString(key + " = " + keys[key] + "\n")
	}
	return b.String()
}

// A key that Changes forgets would be a reload that says nothing of what it
// did; so each key of the schema must have its case.
func TestChangesOfEveryKey(t *testing.T) {
	old := mustParse(t, dotted(settled))
	cases := 0
	for kind, keys := range schema {
		if kind == "" {
			continue
		}
		table := strings.NewReplacer("frontend.NAME", "frontend.one", "backend.NAME.server.LABEL", "backend.t.server.big", "backend.NAME", "backend.b").Replace(kind)
		for _, key := range keys {
			path := table + "." + key
			if path == "backend.b.check.kind" { // the other keys of that table depend on it
				path = "backend.c.check.kind"
			}
			values, ok := altered[path]
			if !ok {
				t.Errorf("no case for %s", path)
				continue
			}
			cases++
			with := map[string]string{path: values[1]}
			for k, v := range settled {
				if k != path {
					with[k] = v
				}
			}
			is := mustParse(t, dotted(with))
			checkRoundTrip(t, is)
			want := []Change{{Key: path, Old: values[0], New: values[1]}}
			if got := Changes(old, is); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			want[0].Old, want[0].New = want[0].New, want[0].Old
			if got := Changes(is, old); !reflect.DeepEqual(got, want) {
				t.Errorf("back: got  %v\nwant %v", got, want)
			}
		}
	}
	if cases != len(altered) {
		t.Errorf("%d cases for %d keys", len(altered), cases)
	}
}

// checkRoundTrip holds that what Changes writes is what would be written in a
// file: all of it together gives the same configuration.
func checkRoundTrip(t *testing.T, c *Config) {
	t.Helper()
	keys := make(map[string]string)
	for path, settings := range c.tables() {
		for _, s := range settings.settings() {
			keys[path+"."+s.key] = s.value
		}
	}
	text := ""
	for _, b := range c.Backends { // whose servers have an order
		for _, s := range b.Servers {
			if key := b.keyOf(s); s.Label != "" {
				text += key + " = " + keys[key] + "\n"
				delete(keys, key)
			}
		}
	}
	text += dotted(keys)
	again, err := Parse("again.toml", []byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if got := Changes(c, again); len(got) > 0 {
		t.Errorf("%v", got)
	}
	got, want := values(again), values(c)
	for _, v := range []*Config{&got, &want} { // the order in which these stand has no meaning
		for i := range v.Frontends {
			v.Frontends[i].Listen = sorted(v.Frontends[i].Listen, netip.AddrPort.Compare)
			v.Frontends[i].TrustedProxies = sorted(v.Frontends[i].TrustedProxies, netip.Prefix.Compare)
			v.Frontends[i].AllowForeignData = sorted(v.Frontends[i].AllowForeignData, netip.Prefix.Compare)
		}
		for i := range v.Backends {
			v.Backends[i].TrustDataAddress = sorted(v.Backends[i].TrustDataAddress, netip.Prefix.Compare)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func sorted[T any](all []T, compare func(a, b T) int) []T {
	all = slices.Clone(all)
	slices.SortFunc(all, compare)
	return all
}

// The keys of every table are compared by their place, which is that in the schema.
func TestSettingsFollowTheSchema(t *testing.T) {
	seen := make(map[string]bool)
	for path, settings := range mustParse(t, minimal+"[backend.t.server.big]\naddress = '10.0.0.7'\n").tables() {
		kind := kindOf(path)
		seen[kind] = true
		var keys []string
		for _, s := range settings.settings() {
			keys = append(keys, s.key)
		}
		if !slices.Equal(keys, schema[kind]) {
			t.Errorf("%s has the keys\n%q, the schema\n%q", path, keys, schema[kind])
		}
	}
	if len(seen) != len(schema)-1 {
		t.Errorf("the tables are %v", seen)
	}
}

// What is written in another way is the same.
func TestChangesOfNothing(t *testing.T) {
	a := mustParse(t, `
[frontend.a]
listen = [":21", "192.0.2.1:990"]
backend = "b"
allow_foreign_data = ["10.0.0.0/8", "192.0.2.7"]
public_address_for = { "10.0.0.0/8" = "auto", "10.1.0.0/16" = "203.0.113.9" }
bandwidth = "80Mbit/s"
[backend.b]
servers = "2001:DB8:0::5"
`)
	b := mustParse(t, `
[timeouts]
idle = "600s" # the default
[backend.b]
data = "client"
servers = ["[2001:db8::5]:21"]
[frontend.a]
backend = "b"
bandwidth = "10MB/s"
public_address_for = { "10.1.0.0/16" = ["203.0.113.9"], "10.0.0.0/8" = "auto" }
allow_foreign_data = ["192.0.2.7/32", "10.0.0.0/8"]
listen = ["192.0.2.1:990", "[::]:21", "0.0.0.0:21"]
passive_bind = ""
`)
	if got := Changes(a, b); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// What is written in the way of another is the same in the tables of TLS, too.
func TestChangesOfNothingInTLS(t *testing.T) {
	const front, back = "[frontend.public.tls]\nmode = 'required'\n", "[backend.legacy.tls]\nmode = 'explicit'\n"
	a := mustParse(t, minimal+front+"certificate = '/etc/one.pem'\nclient_ca = '/etc/ca.pem'\n"+back+"certificate = '/etc/b.pem'\n")
	b := mustParse(t, minimal+front+"certificate = ['/etc/one.pem']\nkey = '/etc/one.pem'\nclient_ca = '/etc/ca.pem'\nclient_certificate = 'required'\n"+
		"require_data = true\nmin_version = '1.2'\n"+back+"certificate = '/etc/b.pem'\nkey = '/etc/b.pem'\ndata = 'private'\n")
	if got := Changes(a, b); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if got := Changes(mustParse(t, minimal), mustParse(t, minimal+"[frontend.public.tls]\nmode = 'off'\n[backend.legacy.tls]\n")); len(got) != 0 {
		t.Errorf("off: %v", got)
	}
}

// Where the order says what is tried first, it counts.
func TestChangesOfOrder(t *testing.T) {
	text := "[frontend.a]\nlisten = ':21'\nbackend = 'b'\nactive_source_ports = ['20', '40000']\n[backend.b]\nservers = ['10.0.0.5', '10.0.0.6']\n"
	other := strings.NewReplacer("'20', '40000'", "'40000', '20'", "'10.0.0.5', '10.0.0.6'", "'10.0.0.6', '10.0.0.5'").Replace(text)
	want := []Change{
		{"backend.b.servers", `["10.0.0.5:21", "10.0.0.6:21"]`, `["10.0.0.6:21", "10.0.0.5:21"]`},
		{"frontend.a.active_source_ports", `["20", "40000"]`, `["40000", "20"]`},
	}
	if got := Changes(mustParse(t, text), mustParse(t, other)); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestChangesOfTables(t *testing.T) {
	const more = `
[frontend.two]
listen = "192.0.2.1:2121"
backend = "tapes"
passive_ports = "40000-40009"
[backend.tapes]
servers = ["10.0.0.7", "10.0.0.8:2121"]
[timeouts]
idle = "1m"
`
	old, is := mustParse(t, minimal), mustParse(t, minimal+more)
	want := []Change{
		{Key: "backend.tapes", New: `{ servers = ["10.0.0.7:21", "10.0.0.8:2121"] }`},
		{Key: "frontend.two", New: `{ listen = ["192.0.2.1:2121"], passive_ports = "40000-40009", backend = "tapes" }`},
		{Key: "timeouts.idle", Old: `"10m"`, New: `"1m"`},
	}
	if got := Changes(old, is); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	lines := []string{
		`backend.tapes: is new: { servers = ["10.0.0.7:21", "10.0.0.8:2121"] }`,
		`frontend.two: is new: { listen = ["192.0.2.1:2121"], passive_ports = "40000-40009", backend = "tapes" }`,
		`timeouts.idle: "10m" is now "1m"`,
	}
	for i, c := range want {
		if c.String() != lines[i] {
			t.Errorf("got  %s\nwant %s", c, lines[i])
		}
		c.Old, c.New = c.New, c.Old
		want[i] = c
	}
	if got := Changes(is, old); !reflect.DeepEqual(got, want) {
		t.Errorf("back: got  %v\nwant %v", got, want)
	}
	if got, line := want[0].String(), `backend.tapes: is gone: { servers = ["10.0.0.7:21", "10.0.0.8:2121"] }`; got != line {
		t.Errorf("got  %s\nwant %s", got, line)
	}
}

// The table of TLS comes and goes with the one that it is in, and shows in it.
func TestChangesOfTablesWithTLS(t *testing.T) {
	const more = `
[frontend.two]
listen = "192.0.2.1:990"
backend = "tapes"
[frontend.two.tls]
mode = "implicit"
certificate = ["/etc/a.pem", "/etc/b.pem"]
key = ["/etc/a.key", "/etc/b.pem"]
client_ca = "/etc/ca.pem"
[frontend.three]
listen = "192.0.2.2:2121"
backend = "tapes"
tls = { mode = "optional", certificate = "/etc/a.pem", require_data = true, client_ca = "/etc/ca.pem", client_certificate = "optional" }
[backend.tapes]
servers = "10.0.0.7:990"
tls = { mode = "implicit", insecure_skip_verify = true }
`
	want := []Change{
		{Key: "backend.tapes", New: `{ servers = ["10.0.0.7:990"], tls = { mode = "implicit", insecure_skip_verify = true } }`},
		{Key: "frontend.three", New: `{ listen = ["192.0.2.2:2121"], backend = "tapes", tls = { mode = "optional", certificate = ["/etc/a.pem"], client_ca = "/etc/ca.pem", client_certificate = "optional", require_data = true } }`},
		{Key: "frontend.two", New: `{ listen = ["192.0.2.1:990"], backend = "tapes", tls = { mode = "implicit", certificate = ["/etc/a.pem", "/etc/b.pem"], key = ["/etc/a.key", "/etc/b.pem"], client_ca = "/etc/ca.pem" } }`},
	}
	old, is := mustParse(t, minimal), mustParse(t, minimal+more)
	if got := Changes(old, is); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for i := range want {
		want[i].Old, want[i].New = want[i].New, ""
	}
	if got := Changes(is, old); !reflect.DeepEqual(got, want) {
		t.Errorf("back: got  %v\nwant %v", got, want)
	}
}

func TestChangesHideSecrets(t *testing.T) {
	fake := map[string]bool{"frontend.NAME.banner": true, "log.level": true, "frontend.NAME.tls.certificate": true}
	with := func(keys string) *Config {
		return mustParse(t, "log.level = '"+keys+"'\n"+minimal+"[frontend.two]\nlisten = '192.0.2.1:990'\nbackend = 'legacy'\nbanner = '"+keys+"'\n")
	}
	old, is := with("warn"), with("error")
	is.Frontends = append(is.Frontends, is.Frontends[1])
	is.Frontends[2].Name = "three"
	is.Frontends[2].TLS.Certificates = []KeyPair{{"/etc/a.pem", "/etc/a.pem"}}
	want := []Change{
		{"frontend.three", "", `{ listen = ["192.0.2.1:990"], backend = "legacy", banner = "***", tls = { certificate = "***" } }`},
		{"frontend.two.banner", `"***"`, `"***"`},
		{"log.level", `"***"`, `"***"`},
	}
	if got := changes(old, is, fake); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for key := range secrets { // a mistyped one would hide nothing
		end := strings.LastIndexByte(key, '.')
		if end < 0 || !slices.Contains(schema[key[:end]], key[end+1:]) {
			t.Errorf("the secret %s is not in the schema", key)
		}
	}
}

// A server's table comes and goes alone, or with its backend, and the order of the
// tables is the order of the servers.
func TestChangesOfServers(t *testing.T) {
	const head = "[frontend.a]\nlisten = ':21'\nbackend = 'b'\n"
	const big, small = "[backend.b.server.big]\naddress = '10.0.0.7'\nweight = 3\n", "[backend.b.server.small]\naddress = '10.0.0.8'\nbackup = true\n"
	const checked = "[backend.t]\nserver.y = {address = '10.0.0.9'}\ncheck = {kind = 'tcp'}\n"
	tests := []struct {
		name, old, new string
		want           []Change
	}{
		{"one more", big, big + small, []Change{{"backend.b.server.small", "", `{ address = "10.0.0.8:21", backup = true }`}}},
		{"order", big + small, small + big, []Change{{"backend.b.server", `["big", "small"]`, `["small", "big"]`}}},
		{"from the list", "[backend.b]\nservers = '10.0.0.7'\n", big, []Change{
			{"backend.b.server.big", "", `{ address = "10.0.0.7:21", weight = 3 }`}, {"backend.b.servers", `["10.0.0.7:21"]`, `[]`},
		}},
		{"a backend", big, big + checked, []Change{{"backend.t", "", `{ server = { y = { address = "10.0.0.9:21" } }, check = { kind = "tcp" } }`}}},
	}
	for _, tt := range tests {
		old, is := mustParse(t, head+tt.old), mustParse(t, head+tt.new)
		if got := Changes(old, is); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\ngot  %v\nwant %v", tt.name, got, tt.want)
		}
	}
}
