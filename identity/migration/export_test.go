package migration

// WithStartTLS returns a directory on the local host that requires StartTLS nevertheless.
func WithStartTLS(s Server) Server {
	d := s.(directory)
	d.plain = false
	return d
}

// The functions for tests.
var (
	FilterFor = filterFor
	GUID      = guid
)
