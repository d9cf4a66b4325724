# make test is what CI runs. Everything else is a part of it, or a convenience.

GO       ?= go
FUZZTIME ?= 20s
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

.PHONY: test build check fmt vet lint cgo unit integration compat fuzz peers demo clean

# The order is the order of cost: what fails fast comes first.
test: check peers-if-possible unit integration

build:
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o ftproxy ./cmd/ftproxy

check: fmt vet lint

fmt:
	@files=$$(gofmt -l . ) && if [ -n "$$files" ]; then echo "not gofmt-ed:"; echo "$$files"; exit 1; fi

vet:
	$(GO) vet ./...

lint:
	$(GO) tool staticcheck ./...

# The race detector is a C library.
cgo:
	@[ "$$($(GO) env CGO_ENABLED)" = 1 ] || { echo "make: -race needs cgo and a C compiler: install gcc (apt-get install gcc libc6-dev) and leave CGO_ENABLED alone" >&2; exit 1; }
	@cc=$$($(GO) env CC); command -v $${cc%% *} >/dev/null || { echo "make: -race needs a C compiler, and there is no $$cc: apt-get install gcc libc6-dev" >&2; exit 1; }

# Fuzz targets run here with their seeds and with every input that once failed.
# The race detector slows the program down, which hides faults of timing: so once
# without it, as users run it and as "go test ./..." does, and once with it.
UNITS = $$($(GO) list ./... | grep -v '/integration$$')
unit: cgo
	$(GO) test -shuffle=on $(UNITS)
	$(GO) test -race -shuffle=on $(UNITS)

# The built program between real servers and real clients. A peer that is
# missing is a skip (go test -v says which), and a failure where CI=true.
integration: cgo
	$(GO) test -race -shuffle=on -parallel 6 -timeout 20m ./integration/...

# Every client with every server in every mode, TLS on both sides, and the big
# files: about 15 minutes. It writes docs/compatibility.md; see
# integration/compat_known_test.go for what may fail.
compat: peers
	FTPROXY_COMPAT=full $(GO) test -count=1 -parallel 8 -timeout 60m -run 'TestClients|TestCrossings$$|TestTLS$$|TestStrictServers|TestLarge|TestVersions|TestSample|TestServersIPv6' ./integration/

# Every fuzz target there is, FUZZTIME each.
fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

# FTP servers and clients for the integration tests; see integration/peers.sh.
peers:
	sh integration/peers.sh

# As root this installs them. Others go on with those that are there, but CI
# must have them all.
.PHONY: peers-if-possible
peers-if-possible:
	@sh integration/peers.sh || [ "$$CI" != true ]

# ftproxy beside its peers, on this machine: docs/performance.md. BENCHFLAGS may
# be anything of "go run ./bench -h", such as "-compare HEAD~1" or "-only noop".
# As root it has control groups to count with, and gets the peers.
.PHONY: bench bench-quick bench-peers
bench: bench-peers
	$(GO) run ./bench -json bench/results/full.json -svg docs/bench.svg $(BENCHFLAGS)

bench-quick: bench-peers
	$(GO) run ./bench -quick $(BENCHFLAGS)

bench-peers:
	@sh bench/peers.sh

demo:
	$(GO) run ./cmd/ftproxy demo

clean:
	rm -f ftproxy
	$(GO) clean -testcache
