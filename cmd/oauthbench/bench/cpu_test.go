package bench

import "testing"

func TestCPUMeterWithoutProcessIDsReturnsZero(t *testing.T) {
	t.Parallel()
	server, database, err := cpuMeter{}.perOperation(t.Context(), cpuTimes{}, 10)
	if server != 0 || database != 0 || err != nil {
		t.Errorf("perOperation without process IDs = %v, %v, %v, want 0, 0, nil", server, database, err)
	}
}
