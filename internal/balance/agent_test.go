package balance

import (
	"strings"
	"testing"
)

func TestParseAgent(t *testing.T) {
	none := Advice{Percent: -1, Max: -1}
	with := func(set func(*Advice)) Advice {
		a := none
		set(&a)
		return a
	}
	for _, tt := range []struct {
		name, text string
		want       Advice
		unknown    string
	}{
		{"up", "up\n", with(func(a *Advice) { a.Health = "up" }), ""},
		{"no end of line", "up", with(func(a *Advice) { a.Health = "up" }), ""},
		{"case", "DOWN\r\n", with(func(a *Advice) { a.Health = "down" }), ""},
		{"with a text", "down # disk , 99% full \n", with(func(a *Advice) { a.Health, a.Text = "down", "disk , 99% full" }), ""},
		{"failed", "failed#x", with(func(*Advice) {}), "failed#x"}, // as HAProxy reads it
		{"failed and text", "failed #x", with(func(a *Advice) { a.Health, a.Text = "down", "x" }), ""},
		{"fail", "fail\n", with(func(a *Advice) { a.Health = "down" }), ""},
		{"stopped", "stopped\n", with(func(a *Advice) { a.Health = "down" }), ""},
		{"ready", "ready\n", with(func(a *Advice) { a.Admin = "ready" }), ""},
		{"drain", "drain\n", with(func(a *Advice) { a.Admin = "drain" }), ""},
		{"all, in any order", "\tmaint,75%, up maxconn:30\n", Advice{"up", "maint", 75, 30, ""}, ""},
		{"the last one counts", "up down 10% 20%\n", with(func(a *Advice) { a.Health, a.Percent = "down", 20 }), ""},
		{"0%", "0%\n", with(func(a *Advice) { a.Percent = 0 }), ""},
		{"more than 100%", "150%\n", with(func(a *Advice) { a.Percent = 150 }), ""},
		{"very much more", "99999999%\n", with(func(a *Advice) { a.Percent = mostPercent }), ""},
		{"only the first line", "up\ndown\n", with(func(a *Advice) { a.Health = "up" }), ""},
		{"nothing", "", none, ""},
		{"an empty line", "\nup\n", none, ""},
		{"only a text", "#up\n", with(func(a *Advice) { a.Text = "up" }), ""},
		{"garbage", "HTTP/1.1 400 Bad Request\r\n", none, "HTTP/1.1"},
		{"garbage and a word", "whatever drain\n", with(func(a *Advice) { a.Admin = "drain" }), "whatever"},
		{"no number", "%\n", none, "%"},
		{"a sign", "-5%\n", none, "-5%"},
		{"a plus", "+5%\n", none, "+5%"},
		{"a fraction", "7.5%\n", none, "7.5%"},
		{"two signs", "75%%\n", none, "75%%"},
		{"beyond numbers", "99999999999999999999%\n", none, "99999999999999999999%"},
		{"no limit", "maxconn:\n", none, "maxconn:"},
		{"not for a log", "down #a\x1b[31m\xff\n", with(func(a *Advice) { a.Health, a.Text = "down", "a?[31m?" }), ""},
	} {
		got, err := ParseAgent(tt.text)
		if got != tt.want {
			t.Errorf("%s: ParseAgent(%q) = %+v; want %+v", tt.name, tt.text, got, tt.want)
		}
		if (err != nil) != (tt.unknown != "") || err != nil && !strings.Contains(err.Error(), `"`+tt.unknown+`"`) {
			t.Errorf("%s: ParseAgent(%q) has the error %v; want %q", tt.name, tt.text, err, tt.unknown)
		}
	}
}

// Any answer gives advice within bounds, which says the same when it is said again.
func FuzzParseAgent(f *testing.F) {
	for _, seed := range []string{"up\n", "down #x\r\n", "75%,ready", "maint maxconn:5", "#", "\xff%", "0%", strings.Repeat("x", 300)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAgent(text)
		if a.Percent < -1 || a.Percent > mostPercent || a.Max < -1 || len(a.Text) > 3*mostText {
			t.Fatalf("%+v", a)
		}
		if err != nil && len(err.Error()) > 8*mostText {
			t.Fatal("a long error")
		}
		again, err := ParseAgent(strings.Join([]string{a.Health, a.Admin, "#" + a.Text}, " "))
		if err != nil || again.Health != a.Health || again.Admin != a.Admin || again.Text != strings.Trim(a.Text, " \t") {
			t.Fatalf("%+v, then %+v, %v", a, again, err)
		}
		var all agent
		all.take(a)
		if part := all.part(); part < 0 || part > maxWeight {
			t.Fatal(part)
		}
	})
}

// What an agent says lasts until it says something else of that sort.
func TestAgentState(t *testing.T) {
	for _, tt := range []struct {
		lines string // one after the other
		want  State
		part  float64
	}{
		{"up", Up, 1},
		{"down", Down, 1},
		{"down/ready", Down, 1},
		{"down/up", Up, 1},
		{"maint/up", Down, 1},
		{"maint/ready", Up, 1},
		{"drain/down", Down, 1},
		{"drain/down/up", Drain, 1},
		{"0%", Drain, 0},
		{"0%/50%", Up, 0.5},
		{"50%/down/up", Up, 0.5},
		{"drain/nonsense", Drain, 1},
	} {
		var a agent
		for line := range strings.SplitSeq(tt.lines, "/") {
			advice, _ := ParseAgent(line)
			a.take(advice)
		}
		if a.state() != tt.want || a.part() != tt.part {
			t.Errorf("%s: %v, %v; want %v, %v", tt.lines, a.state(), a.part(), tt.want, tt.part)
		}
	}
}
