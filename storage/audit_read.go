package storage

import (
	"context"
	"strings"
	"time"

	"gorm.io/gorm"
)

// AuditFilter chooses audit rows. Empty fields choose all.
type AuditFilter struct {
	Event                            string // a type, or all that begin with what stands before a final *
	Actor, ClientID, UserID, GrantID string
	RequestID, Token                 string
	Since, Until                     time.Time
	Limit                            int // of AuditEvents: at most this many, the newest; 0 means 100
}

func (s *Store) chosen(ctx context.Context, f AuditFilter) *gorm.DB {
	q := s.read.WithContext(ctx).Model(&AuditEvent{})
	if prefix, ok := strings.CutSuffix(f.Event, "*"); ok {
		q = q.Where("substr(event, 1, ?) = ?", len(prefix), prefix)
	} else if f.Event != "" {
		q = q.Where("event = ?", f.Event)
	}
	for _, is := range [][2]string{{"actor", f.Actor}, {"client_id", f.ClientID}, {"user_id", f.UserID}, {"grant_id", f.GrantID}, {"request_id", f.RequestID}, {"token", f.Token}} {
		if is[1] != "" {
			q = q.Where(is[0]+" = ?", is[1])
		}
	}
	if !f.Since.IsZero() {
		q = q.Where("at >= ?", toMillis(f.Since))
	}
	if !f.Until.IsZero() {
		q = q.Where("at < ?", toMillis(f.Until))
	}
	return q
}

// AuditEvents returns the newest rows that pass the filter, newest first.
func (s *Store) AuditEvents(ctx context.Context, f AuditFilter) ([]AuditEvent, error) {
	if f.Limit == 0 {
		f.Limit = 100
	}
	out := []AuditEvent{}
	if err := s.chosen(ctx, f).Order("id DESC").Limit(f.Limit).Find(&out).Error; err != nil {
		return nil, wrap("list audit events", err)
	}
	for i := range out {
		s.readPersonal(&out[i])
	}
	return out, nil
}

// CountAuditEvents is how many rows pass the filter.
func (s *Store) CountAuditEvents(ctx context.Context, f AuditFilter) (int64, error) {
	var n int64
	return n, wrap("count audit events", s.chosen(ctx, f).Count(&n).Error)
}

// EachAuditEvent calls fn with every row that passes the filter, oldest first, a thousand in memory at a time. Rows that
// come while it runs may be among them. It ends with the first error.
func (s *Store) EachAuditEvent(ctx context.Context, f AuditFilter, fn func(AuditEvent) error) error {
	id := "" // a UUIDv7: its order is that of time
	for {
		var page []AuditEvent
		if err := s.chosen(ctx, f).Where("id > ?", id).Order("id").Limit(1000).Find(&page).Error; err != nil {
			return wrap("read audit events", err)
		}
		for i := range page {
			s.readPersonal(&page[i])
			if err := fn(page[i]); err != nil {
				return err
			}
		}
		if len(page) < 1000 {
			return nil
		}
		id = page[len(page)-1].ID
	}
}
