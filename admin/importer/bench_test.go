package importer_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/admin/importer"
	"gatehouse/storage/storagetest"
)

// writeRealm writes a realm file of Keycloak with n users.
func writeRealm(b *testing.B, n int) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "realm.json")
	file, err := os.Create(path)
	storagetest.Must(b, err)
	w := bufio.NewWriter(file)
	fmt.Fprint(w, `{"realm":"bench","roles":{"realm":[{"name":"reader"}]},"groups":[{"name":"staff","path":"/staff"},`+
		`{"name":"dev","path":"/dev"}],"users":[`)
	for i := range n {
		if i > 0 {
			fmt.Fprint(w, ",\n")
		}
		fmt.Fprintf(w, `{"id":%q,"username":"user%d","enabled":true,"emailVerified":true,"firstName":"First",`+
			`"lastName":"Last%[2]d","email":"user%[2]d@example.com","attributes":{"locale":["de"]},"credentials":[{`+
			`"type":"password","secretData":"{\"value\":\"JsfNbCOIdZUbyBJ+BT+VoGI91Ec2rWLOvkLPDaX8e9k=\",`+
			`\"salt\":\"P5rtFkGtPfoaryJ6PizUJw==\"}","credentialData":"{\"hashIterations\":27500,`+
			`\"algorithm\":\"pbkdf2-sha256\"}"}],"realmRoles":["default-roles-bench","reader"],"groups":["/staff","/dev"]}`,
			uuid.NewString(), i)
	}
	fmt.Fprint(w, "]}")
	storagetest.Must(b, w.Flush())
	storagetest.Must(b, file.Close())
	return path
}

// BenchmarkKeycloak imports 10,000, 100,000 and 1,000,000 users with a password, two groups and a role. It reports
// users per second and the largest resident memory of the process so far.
func BenchmarkKeycloak(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		for _, engine := range storagetest.Engines(b) {
			b.Run(fmt.Sprintf("%s/%d", engine, n), func(b *testing.B) {
				path := writeRealm(b, n)
				for range b.N {
					s := storagetest.Open(b, storagetest.URL(b, engine), storagetest.NewClock())
					began := time.Now()
					r, err := importer.New(s, importer.Options{RolePrefix: "role:"}).Run(b.Context(), "keycloak", path)
					if err != nil || r.Users.Created != int64(n) {
						b.Fatalf("import = %+v, %v", r.Users, err)
					}
					b.ReportMetric(float64(n)/time.Since(began).Seconds(), "users/s")
					b.ReportMetric(0, "ns/op")
					_, err = s.Audit.SealRows(b.Context()) // a server does so every second; closing the store would time out
					storagetest.Must(b, err)
				}
				var usage syscall.Rusage
				storagetest.Must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
				b.ReportMetric(float64(usage.Maxrss)/1024, "MiB-resident")
			})
		}
	}
}
