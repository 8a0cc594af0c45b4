package jwt

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// UnmarshalExact decodes JSON members into the fields of a struct whose json names are exactly the same. encoding/json
// alone also accepts names in a different case, so that two parsers of one token could read different values.
func UnmarshalExact(members map[string]json.RawMessage, v any) error {
	exact := map[string]json.RawMessage{}
	for field := range reflect.TypeOf(v).Elem().Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); members[name] != nil {
			exact[name] = members[name]
		}
	}
	b, err := json.Marshal(exact)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// Leeway is the maximum difference between the clock of this server and the clock of the signer of a token.
const Leeway = 30 * time.Second

// NumericDate is a time in a JWT (RFC 7519 §2): Unix seconds, which may have a fraction.
type NumericDate float64

// Time returns the time in whole seconds. It limits values that time.Time cannot represent to a time far in the past or
// in the future.
func (d NumericDate) Time() time.Time {
	const far = 1 << 40
	return time.Unix(int64(max(-far, min(d, far))), 0)
}

// Audience is the value of aud, which is a string or a list of strings (RFC 7519 §4.1.3).
type Audience []string

// MarshalJSON implements json.Marshaler. One audience is written as a string.
func (a Audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = Audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}
