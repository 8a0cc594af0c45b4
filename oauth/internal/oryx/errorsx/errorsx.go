// Package errorsx stands in for the part of github.com/ory/x/errorsx that fosite calls
// (docs/decisions/0001-fosite-without-ory-x.md).
package errorsx

// The carriers are the interfaces that fosite checks for on an error of another package.
type (
	StatusCodeCarrier interface{ StatusCode() int }
	RequestIDCarrier  interface{ RequestID() string }
	ReasonCarrier     interface{ Reason() string }
	DebugCarrier      interface{ Debug() string }
	StatusCarrier     interface{ Status() string }
	DetailsCarrier    interface{ Details() map[string]any }
)

// WithStack returns err unchanged: the original adds a stack trace that only a log would read, and the request log has
// the request and the cause instead.
func WithStack(err error) error { return err }

// Cause follows the Cause methods of err to the innermost error.
func Cause(err error) error {
	for err != nil {
		c, ok := err.(interface{ Cause() error })
		if !ok || c.Cause() == nil {
			return err
		}
		err = c.Cause()
	}
	return nil
}
