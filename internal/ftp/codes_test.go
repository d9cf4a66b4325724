package ftp

import "testing"

func TestWantsTLS(t *testing.T) {
	for _, tt := range []struct {
		code int
		text string
		want bool
	}{
		{530, "530 Non-anonymous sessions must use encryption.", true},
		{550, "550 SSL/TLS required on the control channel", true},
		{421, "421 Sorry, cleartext sessions and weak ciphers are not accepted.", true},
		{534, "534 Nein.", true},
		{503, "503 Use AUTH first.", true},
		{530, "530 Login incorrect.", false},
		{530, "530 The title was settled.", false},
	} {
		if got := WantsTLS(tt.code, tt.text); got != tt.want {
			t.Errorf("WantsTLS(%d, %q) = %v", tt.code, tt.text, got)
		}
	}
}

func TestABORFirst(t *testing.T) {
	for _, tt := range []struct {
		first, second   int
		announced, want bool
	}{
		{226, 426, true, true},
		{426, 226, true, false},
		{225, 226, true, true},
		{226, 226, true, false},
		{226, 502, true, false},
		{502, 426, true, true},
		{502, 426, false, false},
		{500, 502, true, false},
	} {
		if got := ABORFirst(tt.first, tt.second, tt.announced); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}
