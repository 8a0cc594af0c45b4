package commonpassword_test

import (
	"testing"

	"gatehouse/identity/commonpassword"
)

func TestCommonPasswordsAndTheirVariantsAreFound(t *testing.T) {
	t.Parallel()
	for _, password := range []string{
		"password123", "PASSWORD123", "Password-123", "p4$$w0rd2026!", "P@ssw0rd!!", "!!dragon!!", "Monkey 2026",
		"letmein123456789", "passwordpassword", "qwertyuiop", "1234567890", "0123456789", "9876543210", "abcdefghijkl",
		"abababababab", "aaaaaaaaaab", "xk4xk4xk4xk4", "12345678901234567890", "football!1",
	} {
		if !commonpassword.IsCommon(password) {
			t.Errorf("IsCommon(%q) = false, want true", password)
		}
	}
	for _, password := range []string{
		"correct horse", "another good password", "the password of alice", "monkey48151623420815", "vP8#kq2!Lr",
		"blauer Regenschirm", "zufällig gewählt", "ten-tiny-otters", "dVq0gJ7xWbNnY3kA", "Ångström pass",
		"мой длинный пароль",
	} {
		if commonpassword.IsCommon(password) {
			t.Errorf("IsCommon(%q) = true, want false", password)
		}
	}
}

func TestPasswordsOfNamesAreFound(t *testing.T) {
	t.Parallel()
	names := []string{"alice", "alice.example@corp.example", "Alice Liddell", "Liddell", "bo", "Gatehouse"}
	for _, password := range []string{
		"alice-alice", "Alice2026!!", "4l1c3.liddell", "alice.example@corp.example", "ALICELIDDELL99", "gatehouse1!",
		"G4teh0use2026", "alicepassword1", "liddell_alice",
	} {
		if !commonpassword.IsPersonal(password, names) {
			t.Errorf("IsPersonal(%q) = false, want true", password)
		}
	}
	for _, password := range []string{
		"alice in wonderland", "boboboboat", "ten-tiny-otters", "the gatehouse by the river",
	} {
		if commonpassword.IsPersonal(password, names) {
			t.Errorf("IsPersonal(%q) = true, want false", password)
		}
	}
}

func FuzzChecksTerminate(f *testing.F) {
	f.Add("p4$$w0rd", "alice")
	f.Add("\xff\xfe", "\xff")
	f.Fuzz(func(t *testing.T, password, name string) {
		listed := commonpassword.Contains(password)
		if len(password) >= 4 && listed && !commonpassword.IsCommon(password) {
			t.Errorf("IsCommon(%q) = false for a listed password", password)
		}
		commonpassword.IsPersonal(password, []string{name})
	})
}
