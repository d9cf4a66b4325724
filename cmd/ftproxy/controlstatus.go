package main

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"ftproxy/internal/admin"
)

const (
	screenWidth = 80 // columns
	widestName  = 30 // of a frontend or a backend; longer ones are shortened
	mostFaults  = 5  // of a refused reload that are shown
)

// statusScreen is a status as people read it at the time now, in its time zone.
func statusScreen(st admin.Status, now time.Time) string {
	var b strings.Builder
	since := func(t time.Time) string {
		return fmt.Sprintf("for %s, since %s", age(now.Sub(t)), t.In(now.Location()).Format(time.DateTime))
	}
	fact := func(name, format string, a ...any) {
		fmt.Fprintf(&b, "%-13s  %s\n", name, fmt.Sprintf(format, a...))
	}
	fact("version", "%s", st.Version)
	fact("state", "%s", st.State)
	fact("process", "%d, %s", st.PID, since(st.Started))
	if st.Config != "" {
		fact("configuration", "%s", st.Config)
	}
	fact("in force", "%s", since(st.ConfiguredAt))
	lastReload(fact, &b, st.LastReload, now)
	fact("sessions", "%s now, %d since the start", outOf(st.Sessions, st.SessionsLimit), st.SessionsTotal)
	if st.SessionsOlder > 0 {
		fact("", "%d of them with the rules of an earlier configuration", st.SessionsOlder)
	}
	fact("transfers", "%d now", st.Transfers)
	if st.Descriptors.Used > 0 {
		fact("descriptors", "%s", outOf(st.Descriptors.Used, st.Descriptors.Limit))
	}
	frontendTable(&b, st.Frontends)
	serverTable(&b, st.Servers, now)
	rangeTable(&b, st.Ranges)
	return b.String()
}

// lastReload says what came of the last reload, with the first faults of one
// that was refused.
func lastReload(fact func(name, format string, a ...any), b *strings.Builder, r *admin.ReloadStatus, now time.Time) {
	const name = "last reload"
	if r == nil {
		fact(name, "none")
		return
	}
	when := fmt.Sprintf("%s ago, at %s", age(now.Sub(r.At)), r.At.In(now.Location()).Format(time.DateTime))
	if r.OK {
		fact(name, "done %s", when)
		return
	}
	fact(name, "REFUSED %s:", when)
	faults := strings.Split(strings.TrimSpace(r.Error), "\n")
	for i, fault := range faults {
		if i == mostFaults {
			fmt.Fprintf(b, "  and %d more; the log has them all\n", len(faults)-i)
			break
		}
		wrap(b, fault, "  ", "    ")
	}
}

// outOf is "3 of 10", or "3" where no limit is known.
func outOf(n, limit int) string {
	if limit == 0 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d of %d", n, limit)
}

// frontendTable has the addresses below each other, in the last column if there
// is room for it and else below their frontend.
func frontendTable(b *strings.Builder, all []admin.FrontendStatus) {
	head := []string{"frontend", "backend", "sessions", "listens on"}
	wide, narrow := [][]string{head}, [][]string{head[:3]}
	for _, f := range all {
		row := []string{shorten(f.Name), shorten(f.Backend), strconv.Itoa(f.Sessions), ""}
		narrow = append(narrow, row[:3])
		for i, address := range f.Listen {
			if i > 0 {
				row = []string{"", "", "", ""}
				narrow = append(narrow, []string{"", "", ""})
			}
			row[3] = address
			wide = append(wide, row)
		}
		if len(f.Listen) == 0 {
			wide = append(wide, row)
		}
	}
	b.WriteByte('\n')
	lines := columns(wide, 2, 2)
	if widest(lines) <= screenWidth {
		b.WriteString(strings.Join(lines, "\n") + "\n")
		return
	}
	for i, line := range columns(narrow, 2, 2) {
		if line != "" {
			b.WriteString(line + "\n")
		}
		if address := wide[i][3]; i > 0 && address != "" {
			fmt.Fprintf(b, "    %s\n", address)
		}
	}
}

func rangeTable(b *strings.Builder, all []admin.RangeStatus) {
	if len(all) == 0 {
		b.WriteString("\nno data ports are in use\n")
		return
	}
	rows := [][]string{{"data ports at", "ports", "size", "pending", "held", "waiting"}}
	for _, r := range all {
		row := []string{r.Address, r.Ports}
		for _, n := range []int{r.Size, r.Pending, r.Held, r.Waiting} {
			row = append(row, strconv.Itoa(n))
		}
		rows = append(rows, row)
	}
	numbers := []int{2, 3, 4, 5}
	lines := columns(rows, 2, numbers...)
	if widest(lines) > screenWidth { // An IPv6 address may take half of it.
		lines = columns(rows, 1, numbers...)
	}
	b.WriteString("\n" + strings.Join(lines, "\n") + "\n")
}

// columns sets rows of cells as a table with gap spaces between its columns.
// Those whose indexes are given have numbers, and are set to the right.
func columns(rows [][]string, gap int, numbers ...int) (lines []string) {
	for _, i := range numbers { // tabwriter sets all columns to one side.
		width := 0
		for _, row := range rows {
			width = max(width, len(row[i]))
		}
		for _, row := range rows {
			row[i] = fmt.Sprintf("%*s", width, row[i])
		}
	}
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, gap, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	_ = table.Flush()
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return lines
}

func widest(lines []string) (columns int) {
	for _, line := range lines {
		columns = max(columns, utf8.RuneCountInString(line))
	}
	return columns
}

// shorten takes the middle out of a name that is too long for a table.
func shorten(name string) string {
	all := []rune(name)
	if len(all) <= widestName {
		return name
	}
	half := (widestName - 1) / 2
	return string(all[:widestName-1-half]) + "…" + string(all[len(all)-half:])
}

// wrap writes text in lines of the screen's width, broken between words.
func wrap(b *strings.Builder, text, first, next string) {
	line := first
	begun := false // line has a word
	for word := range strings.FieldsSeq(text) {
		if begun && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > screenWidth {
			b.WriteString(line + "\n")
			line, begun = next, false
		}
		if begun {
			line += " "
		}
		line += word
		begun = true
	}
	b.WriteString(line + "\n")
}
