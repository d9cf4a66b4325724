package rewrite_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"ftproxy/rewrite"
)

// A server's reply goes to the client with the address that the client can
// reach.
func Example() {
	reply := "227 Entering Passive Mode (10,0,0,5,195,80)."
	server, err := rewrite.ParsePASV(reply)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("dial", server)
	fmt.Println(rewrite.ReplacePASV(reply, netip.MustParseAddrPort("203.0.113.9:40000")))
	// Output:
	// dial 10.0.0.5:50000
	// 227 Entering Passive Mode (203,0,113,9,156,64).
}

func ExampleParsePASV() {
	for _, text := range []string{
		"227 Entering Passive Mode (10,0,0,5,195,80).",
		"227 listen to 10,0,0,5,195,80",
		"227 =10,0,0,5,195,80",
		"227-Entering Passive Mode\n (10,0,0,5,195,80)\n227 Go ahead.",
		"227 Entering Passive Mode (10,0,0,256,195,80).",
	} {
		a, err := rewrite.ParsePASV(text)
		fmt.Println(a, errors.Is(err, rewrite.ErrSyntax))
	}
	// Output:
	// 10.0.0.5:50000 false
	// 10.0.0.5:50000 false
	// 10.0.0.5:50000 false
	// 10.0.0.5:50000 false
	// invalid AddrPort true
}

// Where a server's words may hold more than the address, ours are used.
func ExampleReplacePASV() {
	public := netip.MustParseAddrPort("203.0.113.9:40000")
	fmt.Println(rewrite.ReplacePASV("227 Bitte sehr: (10,0,0,5,195,80)", public))
	fmt.Println(rewrite.ReplacePASV("227 10.0.0.5 listens (10,0,0,5,195,80)", public))
	// Output:
	// 227 Bitte sehr: (203,0,113,9,156,64)
	// 227 Entering Passive Mode (203,0,113,9,156,64).
}

func ExampleParseEPSV() {
	for _, text := range []string{
		"229 Entering Extended Passive Mode (|||6446|)",
		"229 Entering Extended Passive Mode (!!!6446!)",
		"229 Entering Extended Passive Mode (|1|10.0.0.5|6446|)",
	} {
		fmt.Println(rewrite.ParseEPSV(text))
	}
	// Output:
	// 6446 <nil>
	// 6446 <nil>
	// 6446 <nil>
}

func ExampleParsePORT() {
	a, _ := rewrite.ParsePORT("192,0,2,1,19,136")
	fmt.Println(a)
	fmt.Println("PORT", rewrite.FormatPORT(a))
	fmt.Println("EPRT", rewrite.FormatEPRT(a))
	// Output:
	// 192.0.2.1:5000
	// PORT 192,0,2,1,19,136
	// EPRT |1|192.0.2.1|5000|
}

func ExampleParseEPRT() {
	a, _ := rewrite.ParseEPRT("|2|2001:db8::1|5000|")
	fmt.Println(a)
	_, err := rewrite.ParseEPRT("|3|192.0.2.1|5000|")
	fmt.Println(err, errors.Is(err, rewrite.ErrProtocol))
	// Output:
	// [2001:db8::1]:5000
	// EPRT: unknown network protocol: 3 true
}

func ExampleEditFEAT() {
	lines := []string{"211-Extensions supported:", " AUTH TLS", " MLST type*;size*;", " MODE Z", "211 End."}
	keep := func(name, params string) (string, bool) {
		return params, name != "AUTH" && name != "MODE"
	}
	fmt.Println(strings.Join(rewrite.EditFEAT(lines, keep, []string{"EPSV"}), "\n"))
	// Output:
	// 211-Extensions supported:
	//  MLST type*;size*;
	//  EPSV
	// 211 End.
}
