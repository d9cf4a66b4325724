package config

import "strings"

//go:generate sh -c "go run ../cmd/ftproxy check -example > config.toml.new && mv config.toml.new ../config.toml.example"

// exampleHead is what config.toml.example says before its first table.
const exampleHead = `# config.toml: the configuration of ftproxy.
#
# Every key is here. A key with "#" before it has its default: remove the "#" to
# change it. A key without "#" has no default: you must write it. The keys
# without "#" alone are a whole configuration.
#
# A time is a string of numbers with units: "500ms", "30s", "10m", "1h30m".
# Instead of a list of strings you may write a single string.
#
# "ftproxy check -config FILE" says what is wrong with a file, and where. It
# starts nothing. "ftproxy check -explain KEY" explains a key, and
# "ftproxy check -example" prints this file.
`

// exampleNames are the names that the tables of config.toml.example have.
var exampleNames = strings.NewReplacer("frontend.NAME", "frontend.public", "backend.NAME", "backend.legacy", "server.LABEL", "server.big")

// Example returns the text of config.toml.example: every key with its help and its
// default.
func Example() string {
	var b strings.Builder
	b.WriteString(exampleHead)
	for _, t := range Tables() {
		b.WriteString("\n" + wrap(t.Help, "# "))
		mark := ""
		if t.Apart {
			mark = "#"
		}
		b.WriteString(mark + "[" + exampleNames.Replace(t.Path) + "]\n")
		for _, k := range t.Keys {
			b.WriteString("\n" + wrap(k.Help, "# "))
			if k.Default == "" {
				b.WriteString("# No default.\n" + mark + k.Name + " = " + k.Example + "\n")
			} else {
				b.WriteString("# Default: " + k.Default + ".\n#" + k.Name + " = " + k.Default + "\n")
			}
		}
	}
	return b.String()
}

// wrapAt is how long the lines of help are at most.
const wrapAt = 80

// wrap returns text in lines that begin with indent. What may be copied, as
// key = "value", stays on one line.
func wrap(text, indent string) string {
	var b strings.Builder
	line := indent
	for _, word := range unbreakable(text) {
		if line != indent && len(line)+1+len(word) > wrapAt {
			b.WriteString(line + "\n")
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	return b.String() + line + "\n"
}

// unbreakable splits text at its spaces, but not beside "=".
func unbreakable(text string) (words []string) {
	for _, word := range strings.Fields(text) {
		if last := len(words) - 1; last >= 0 && (word == "=" || strings.HasSuffix(words[last], " =")) {
			words[last] += " " + word
		} else {
			words = append(words, word)
		}
	}
	return words
}
