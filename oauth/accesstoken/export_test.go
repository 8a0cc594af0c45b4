package accesstoken

import "crypto/ecdsa"

// Private returns the private key, for the benchmark.
func Private(k *Key) *ecdsa.PrivateKey { return k.private }
