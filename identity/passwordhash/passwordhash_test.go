package passwordhash

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// vectors are hashes that other projects publish with their passwords. want is the stored form, "" for the same.
var vectors = []struct {
	source               string
	kind                 Kind
	password, hash, want string
}{
	{
		"Ory Kratos, hash/hasher_test.go", Argon2id, "test",
		"$argon2id$v=19$m=32,t=2,p=4$cm94YnRVOW5jZzFzcVE4bQ$MNzk5BtR2vUhrp6qQEjRNw", "",
	},
	{
		"Ory Kratos, hash/hasher_test.go", Argon2i, "test", "$argon2i$v=19$m=65536,t=3,p=4$kk51rW/vxIVCYn+EG4kTSg$" +
			"NyT88uraJ6im6dyha/M5jhXvpqlEdlS/9fEm7ScMb8c", "",
	},
	{
		"Ory Kratos, hash/hasher_test.go, in Django's notation", Argon2id, "test",
		"argon2$argon2id$v=19$m=32,t=2,p=4$cm94YnRVOW5jZzFzcVE4bQ$MNzk5BtR2vUhrp6qQEjRNw",
		"$argon2id$v=19$m=32,t=2,p=4$cm94YnRVOW5jZzFzcVE4bQ$MNzk5BtR2vUhrp6qQEjRNw",
	},
	{
		"the test of a program with htpasswd -Bbn testuser testpassword", Bcrypt, "testpassword",
		"$2y$05$sBsSqk0OpSD1uTZkHXc4FeJ0Z70wLQdAX/82UiHuQOKbNbBrzs63m",
		"$2b$05$sBsSqk0OpSD1uTZkHXc4FeJ0Z70wLQdAX/82UiHuQOKbNbBrzs63m",
	},
	{
		"Openwall crypt_blowfish 1.3, wrapper.c", Bcrypt, "U*U*",
		"$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
		"$2b$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
	},
	{
		"Openwall crypt_blowfish 1.3, wrapper.c", Bcrypt,
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored",
		"$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui",
		"$2b$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui",
	},
	{
		"Ory Kratos, hash/hasher_test.go", PBKDF2SHA256, "test", "$pbkdf2-sha256$i=100000,l=32$" +
			"1jP+5Zxpxgtee/iPxGgOz0RfE9/KJuDElP1ley4VxXc$QJxzfvdbHYBpydCbHoFg3GJEqMFULwskiuqiJctoYpI",
		"$pbkdf2-sha256$i=100000$" +
			"1jP+5Zxpxgtee/iPxGgOz0RfE9/KJuDElP1ley4VxXc$QJxzfvdbHYBpydCbHoFg3GJEqMFULwskiuqiJctoYpI",
	},
	{
		"a program that migrated from Ory Hydra", PBKDF2SHA256, "secret-1",
		"$pbkdf2-sha256$i=25000,l=32$9+PhFISYk7T5oPha6LOx0A$BFZRvBe6tSexuJRIgSEbdb9rfeob/PMnnh6BFRyGJMo",
		"$pbkdf2-sha256$i=25000$9+PhFISYk7T5oPha6LOx0A$BFZRvBe6tSexuJRIgSEbdb9rfeob/PMnnh6BFRyGJMo",
	},
	{
		"Authelia, documentation of OpenID Connect clients", PBKDF2SHA512, "insecure_secret",
		"$pbkdf2-sha512$310000$c8p78n7pUMln0jzvd4aK4Q$" +
			"JNRBzwAo0ek5qKn50cFzzvE9RXV88h1wJn5KGiHrD0YKtZaR/nCb2CJPOsKaPK0hjf.9yHxzQGZziziccp6Yng",
		"$pbkdf2-sha512$i=310000$c8p78n7pUMln0jzvd4aK4Q$" +
			"JNRBzwAo0ek5qKn50cFzzvE9RXV88h1wJn5KGiHrD0YKtZaR/nCb2CJPOsKaPK0hjf+9yHxzQGZziziccp6Yng",
	},
	{
		"passlib 1.7, documentation of pbkdf2_digest", PBKDF2SHA256, "password",
		"$pbkdf2-sha256$8000$XAuBMIYQQogxRg$tRRlz8hYn63B9LYiCd6PRo6FMiunY9ozmMMI3srxeRE",
		"$pbkdf2-sha256$i=8000$XAuBMIYQQogxRg$tRRlz8hYn63B9LYiCd6PRo6FMiunY9ozmMMI3srxeRE",
	},
	{
		"Django 1.11, tests/auth_tests/test_hashers.py", PBKDF2SHA256, "lètmein",
		"pbkdf2_sha256$36000$seasalt$mEUPPFJkT/xtwDU8rB7Q+puHRZnR07WRjerTkt/3HI0=",
		"$pbkdf2-sha256$i=36000$c2Vhc2FsdA$mEUPPFJkT/xtwDU8rB7Q+puHRZnR07WRjerTkt/3HI0",
	},
	{
		"passlib 1.7, tests of django_pbkdf2_sha1", PBKDF2SHA1, "not a password",
		"pbkdf2_sha1$10000$wz5B6WkasRoF$atJmJ1o+XfJxKq1+Nu1f1i57Z5I=",
		"$pbkdf2-sha1$i=10000$d3o1QjZXa2FzUm9G$atJmJ1o+XfJxKq1+Nu1f1i57Z5I",
	},
	{
		"passlib 1.7, documentation of scrypt", Scrypt, "password",
		"$scrypt$ln=8,r=8,p=1$WKs1xljLudd6z9kbY0wpJQ$yCR4iDZYDKv+iEJj6yHY0lv/epnfB6f/w1EbXrsJOuQ", "",
	},
	{
		"Ory Kratos, hash/hasher_test.go", Scrypt, "test", "$scrypt$ln=16384,r=8,p=1$" +
			"2npRo7P03Mt8keSoMbyD/tKFWyUzjiQf2svUaNDSrhA=$MiCzNcIplSMqSBrm4HckjYqYhaVPPjTARTzwB1cVNYE=",
		"$scrypt$ln=14,r=8,p=1$2npRo7P03Mt8keSoMbyD/tKFWyUzjiQf2svUaNDSrhA$" +
			"MiCzNcIplSMqSBrm4HckjYqYhaVPPjTARTzwB1cVNYE",
	},
	{
		"Ory Kratos, hash/hasher_test.go", Firebase, "8x4WjoDbSxJZdR", "$firescrypt$ln=14,r=8,p=1$sPtDhWcd1MfdAw==$" +
			"xbSou7FOl6mChCyzpCPIQ7tku7nsQMTFtyOZSXXd7tjBa4NtimOx7v42Gv2SfzPQu1oxM2/k4SsbOu73wlKe1A==$Bw==$" +
			"YE0dO4bwD4JnJafh6lZZfkp1MtKzuKAXQcDCJNJNyeCHairWHKENOkbh3dzwaCdizzOspwr/FITUVlnOAwPKyw==",
		"$firescrypt$ln=14,r=8,p=1$sPtDhWcd1MfdAw$" +
			"xbSou7FOl6mChCyzpCPIQ7tku7nsQMTFtyOZSXXd7tjBa4NtimOx7v42Gv2SfzPQu1oxM2/k4SsbOu73wlKe1A$Bw$" +
			"YE0dO4bwD4JnJafh6lZZfkp1MtKzuKAXQcDCJNJNyeCHairWHKENOkbh3dzwaCdizzOspwr/FITUVlnOAwPKyw",
	},
	{
		"SHA-crypt.txt 0.6, test vectors", SHA512Crypt, "Hello world!", "$6$saltstring$" +
			"svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
		"$6$rounds=5000$saltstring$" +
			"svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
	},
	{
		"SHA-crypt.txt 0.6, test vectors", SHA512Crypt,
		"a very much longer text to encrypt.  This one even stretches over morethan one line.",
		"$6$rounds=1400$anotherlongsalts$" +
			"POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1",
		"",
	},
	{
		"SHA-crypt.txt 0.6, test vectors, with the scheme of RFC 2307", SHA512Crypt, "the minimum number is still observed",
		"{CRYPT}$6$rounds=1000$roundstoolow$" +
			"kUMsbe306n21p9R.FRkW3IGn.S9NPN0x50YhH1xhLsPuWGsUSklZt58jaTfF4ZEQpyUNGc0dqbpBYYBaHHrsX.",
		"$6$rounds=1000$roundstoolow$" +
			"kUMsbe306n21p9R.FRkW3IGn.S9NPN0x50YhH1xhLsPuWGsUSklZt58jaTfF4ZEQpyUNGc0dqbpBYYBaHHrsX.",
	},
	{"Ory Kratos, hash/hasher_test.go", SSHA, "test123", "{SSHA}JFZFs0oHzxbMwkSJmYVeI8MnTDy/276a", ""},
	{
		"Ory Kratos, hash/hasher_test.go", SSHA256, "test123",
		"{SSHA256}czO44OTV17PcF1cRxWrLZLy9xHd7CWyVYplr1rOhuMlx/7IK", "",
	},
	{
		"Ory Kratos, hash/hasher_test.go", SSHA512, "test123", "{SSHA512}" +
			"xPUl/px+1cG55rUH4rzcwxdOIPSB2TingLpiJJumN2xyDWN4Ix1WQG3ihnvHaWUE8MYNkvMi5rf0C9NYixHsE6Yh59M=", "",
	},
	{"Ory Kratos, hash/hasher_test.go", MD5, "test", "{MD5}CY9rzUYh03PK3k6DJie09g==", ""},
	{"RFC 1321, test suite", MD5, "abc", "{MD5}900150983cd24fb0d6963f7d28e17f72", "{MD5}kAFQmDzST7DWlj99KOF/cg=="},
	{"FIPS 180-2, appendix A.1", SHA, "abc", "{SHA}a9993e364706816aba3e25717850c26c9cd0d89d",
		"{SHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0="},
}

func TestPublishedVectorsVerify(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		t.Run(string(v.kind)+"/"+v.source, func(t *testing.T) {
			t.Parallel()
			h, err := Parse(v.hash)
			if err != nil {
				t.Fatal(err)
			}
			if h.Kind() != v.kind {
				t.Errorf("kind = %q, want %q", h.Kind(), v.kind)
			}
			if !h.Verify(v.password) {
				t.Errorf("Verify(%q) = false, want true", v.password)
			}
			if other := v.password[1:]; h.Verify(other) {
				t.Errorf("Verify(%q) = true, want false", other)
			}
			if want := v.want; want != "" && h.String() != want {
				t.Errorf("stored form = %q, want %q", h, want)
			}
		})
	}
}

// TestPublishedVectorsInParts has hashes that the exports of Keycloak and Firebase have in parts.
func TestPublishedVectorsInParts(t *testing.T) {
	t.Parallel()
	part := func(s string) []byte {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// A user of a realm that Solo.io publishes for its workshops.
	h, err := NewPBKDF2(PBKDF2SHA256, 27500, part("P5rtFkGtPfoaryJ6PizUJw=="),
		part("JsfNbCOIdZUbyBJ+BT+VoGI91Ec2rWLOvkLPDaX8e9k="))
	if err != nil || !h.Verify("password") || h.Verify("passwort") {
		t.Errorf("Keycloak's user = %v, %v, want the password password", h, err)
	}
	// The example of github.com/firebase/scrypt.
	h, err = NewFirebase(FirebaseParameters{
		SignerKey:     part("jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=="),
		SaltSeparator: part("Bw=="), Rounds: 8, MemCost: 14,
	}, part("42xEC+ixf3L2lw=="),
		part("lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="))
	if err != nil || !h.Verify("user1password") || h.Verify("user2password") {
		t.Errorf("Firebase's user = %v, %v, want the password user1password", h, err)
	}
	// RFC 6070, test 6: only the first block of a longer result is stored.
	want := "$pbkdf2-sha1$i=4096$c2FsdFNBTFRzYWx0U0FMVHNhbHRTQUxUc2FsdFNBTFRzYWx0$PS7sT+QchJuAyNg2YsDkSosp"
	h, err = NewPBKDF2(PBKDF2SHA1, 4096, []byte("saltSALTsaltSALTsaltSALTsaltSALTsalt"),
		[]byte("\x3d\x2e\xec\x4f\xe4\x1c\x84\x9b\x80\xc8\xd8\x36\x62\xc0\xe4\x4a\x8b\x29\x1a\x96\x4c\xf2\xf0\x70\x38"))
	if err != nil || !h.Verify("passwordPASSWORDpassword") || !strings.HasPrefix(h.String(), want[:len(want)-1]) {
		t.Errorf("RFC 6070, test 6 = %v, %v, want %s", h, err, want)
	}
}

// TestExpensiveHashIsRefused has hashes that cost too much (PE56).
func TestExpensiveHashIsRefused(t *testing.T) {
	t.Parallel()
	const salt, sum = "c2FsdHNhbHQ", "QJxzfvdbHYBpydCbHoFg3GJEqMFULwskiuqiJctoYpI"
	tail := "$" + salt + "$" + sum
	crypt := "$salt$" + strings.Repeat("a", 86)
	for _, c := range []struct{ accepted, refused string }{
		{"$argon2id$v=19$m=262144,t=8,p=1" + tail, "$argon2id$v=19$m=262145,t=1,p=1" + tail},
		{"$argon2id$v=19$m=1024,t=2048,p=1" + tail, "$argon2id$v=19$m=1024,t=2049,p=1" + tail},
		{"$argon2i$v=19$m=1024,t=1,p=64" + tail, "$argon2i$v=19$m=4294967295,t=1,p=1" + tail},
		{"$scrypt$ln=18,r=8,p=1" + tail, "$scrypt$ln=18,r=9,p=1" + tail},
		{"$scrypt$ln=16,r=8,p=16" + tail, "$scrypt$ln=16,r=8,p=17" + tail},
		{"$scrypt$ln=1,r=64,p=128" + tail, "$scrypt$ln=1,r=64,p=129" + tail},
		{"$pbkdf2-sha512$i=2000000" + tail, "$pbkdf2-sha512$i=2000001" + tail},
		{"pbkdf2_sha256$2000000" + tail, "pbkdf2_sha256$2000001" + tail},
		{"$6$rounds=2000000" + crypt, "$6$rounds=2000001" + crypt},
		{"$2b$15$" + strings.Repeat("a", 53), "$2b$16$" + strings.Repeat("a", 53)},
	} {
		h, err := Parse(c.accepted)
		if err != nil {
			t.Errorf("Parse(%s) = %v, want it accepted", c.accepted, err)
		} else if h.Memory() > MaxMemory {
			t.Errorf("memory of %s = %d, want at most %d", c.accepted, h.Memory(), MaxMemory)
		}
		if _, err := Parse(c.refused); !errors.As(err, new(*BoundError)) {
			t.Errorf("Parse(%s) = %v, want a BoundError", c.refused, err)
		}
	}
}

// TestHashesOfLowCostAreWeak checks the least cost of each algorithm that is not weak (PE56).
func TestHashesOfLowCostAreWeak(t *testing.T) {
	t.Parallel()
	const tail = "$c2FsdHNhbHQ$QJxzfvdbHYBpydCbHoFg3GJEqMFULwskiuqiJctoYpI"
	for s, want := range map[string]bool{
		"$pbkdf2-sha256$i=999" + tail: true, "$pbkdf2-sha256$i=1000" + tail: false, "pbkdf2_sha256$1" + tail: true,
		"$scrypt$ln=5,r=8,p=1" + tail: true, "$scrypt$ln=6,r=8,p=1" + tail: false, "$scrypt$ln=5,r=8,p=2" + tail: false,
		"$argon2id$v=19$m=63,t=1,p=1" + tail: true, "$argon2id$v=19$m=32,t=2,p=1" + tail: false,
		"$2b$04$" + strings.Repeat("a", 53): false, "{SSHA}JFZFs0oHzxbMwkSJmYVeI8MnTDy/276a": true,
	} {
		h, err := Parse(s)
		if err != nil || h.IsWeak() != want {
			t.Errorf("Parse(%s) = %v, %v, want weak: %v", s, h, err, want)
		}
	}
}

// TestInvalidHashIsRefused has strings that are no hash, or that would match more than one password.
func TestInvalidHashIsRefused(t *testing.T) {
	t.Parallel()
	const tail = "$c2FsdHNhbHQ$QJxzfvdbHYBpydCbHoFg3GJEqMFULwskiuqiJctoYpI"
	for _, s := range []string{
		"", "$", "plain", "$$", "!", "*", "$1$salt$qJH7.N4xYta3aEG/dfqo/0", "$argon2d$v=19$m=1024,t=1,p=1" + tail,
		"$argon2id$m=1024,t=1,p=1" + tail, "$argon2id$v=16$m=1024,t=1,p=1" + tail, "$argon2id$v=19$m=1024,t=0,p=1" + tail,
		"$argon2id$v=19$m=1024,t=1,p=0" + tail, "$argon2id$v=19$m=7,t=1,p=1" + tail, "$argon2id$v=19$m=0,t=1,p=0" + tail,
		"$argon2id$v=19$m=1024,t=1,p=65" + tail, "$argon2id$v=19$m=1024,t=1,p=1,data=AA" + tail,
		"$argon2id$v=19$m=1024,m=8,t=1,p=1" + tail, "$argon2id$v=19$m=1024,t=1" + tail,
		"$argon2id$v=19$m=1024,t=+1,p=1" + tail,
		"$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHQ$", "$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHQ$c2FsdA",
		"$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHQ$(", "$scrypt$ln=0,r=8,p=1" + tail, "$scrypt$ln=16385,r=8,p=1" + tail,
		"$scrypt$ln=14,r=0,p=1" + tail, "$scrypt$ln=14,r=8,p=0" + tail, "$pbkdf2-sha256$i=0" + tail,
		"$pbkdf2-sha256$x" + tail,
		"$pbkdf2-md5$i=1000" + tail, "pbkdf2_md5$1000" + tail, "$2b$03$" + strings.Repeat("a", 53),
		"$2x$10$" + strings.Repeat("a", 53), "$2b$10$" + strings.Repeat("a", 52), "$6$salt$short", "$6$rounds=x$salt$" +
			strings.Repeat("a", 86), "{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "{SHA}JFZFs0oHzxbMwkSJmYVeI8MnTDy/276a", "{SSHA}",
		"{CLEARTEXT}secret", "{CRYPT}{CRYPT}$6$", "{CRYPT}ab01FAX.bQRSU", "{", strings.Repeat("$", 3000),
	} {
		if h, err := Parse(s); err == nil {
			t.Errorf("Parse(%q) = %s, want an error", s, h)
		} else if len(s) > 20 && strings.Contains(err.Error(), s[len(s)-20:]) {
			t.Errorf("the error of %q has the hash: %v", s, err)
		}
	}
}

// TestBcryptReadsHighBitBytes checks bytes above 127 in passwords against crypt_blowfish 1.3, wrapper.c: the versions
// 2a, 2b and 2y agree on them, and 2x is refused (PE55).
func TestBcryptReadsHighBitBytes(t *testing.T) {
	t.Parallel()
	const salt = "/OK.fbVrR/bpIqNJ5ianF."
	for _, v := range []struct{ password, sum string }{
		{"\xa3", "Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq"},
		{"\xff\xff\xa3", "CE5elHaaO4EbggVDjb8P19RukzXSM3e"},
		{"\xff\xa3345", "nRht2l/HRhr6zmCp9vYUvvsqynflf9e"},
		{"\xa3ab", "6IflQkJytoRVc1yuaNtHfiuq.FRlSIS"},
		{strings.Repeat("\xaa", 72) + "chars after 72 are ignored as usual", "swQOIzjOiJ9GHEPuhEkvqrUyvWhEMx6"},
		{strings.Repeat("\xaaU", 36), "R9xrDjiycxMbQE2bp.vgqlYpW5wx2yy"},
	} {
		for _, version := range []string{"2a", "2b", "2y"} {
			h, err := Parse("$" + version + "$05$" + salt + v.sum)
			if err != nil {
				t.Fatal(err)
			}
			if !h.Verify(v.password) || h.Verify(v.password[1:]) {
				t.Errorf("Verify with the version %s and the password %q = false, or true for another one",
					version, v.password)
			}
		}
	}
	if h, err := Parse("$2x$05$" + salt + "CE5elHaaO4EbggVDjb8P19RukzXSM3e"); !errors.Is(err, errFaultyBcrypt) {
		t.Errorf("Parse of the version 2x = %v, %v, want errFaultyBcrypt", h, err)
	}
}

// FuzzParse checks that every accepted hash is within the bounds and has one stored form.
func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.hash)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := Parse(s)
		if err != nil {
			return
		}
		if h.Memory() < 0 || h.Memory() > MaxMemory {
			t.Errorf("memory of %q = %d, want at most %d", s, h.Memory(), MaxMemory)
		}
		again, err := Parse(h.String())
		if err != nil || again.String() != h.String() || again.Kind() != h.Kind() {
			t.Errorf("Parse(%q) of the stored form = %v, %v, want the same", h, again, err)
		}
	})
}
