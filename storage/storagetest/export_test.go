package storagetest

// What the tests of the spare schemas need.
const (
	SchemaLock       = schemaLock
	CompareStructure = compareStructure
)

// ReferenceSchema returns the name of the reference schema.
var ReferenceSchema = referenceSchema
