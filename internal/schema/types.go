package schema

import "encoding/json"

// Schema is the part of JSON Schema and of Kubernetes' extensions to it that decides whether an
// object is valid. An object is closed: what is not in Properties is unknown, unless Additional or
// Open says otherwise.
type Schema struct {
	Ref        string             `json:"$ref,omitempty"`
	Type       string             `json:"type,omitempty"`
	Format     string             `json:"format,omitempty"`
	Properties map[string]*Schema `json:"properties,omitempty"`
	Required   []string           `json:"required,omitempty"`
	Additional *Schema            `json:"additionalProperties,omitempty"`
	Items      *Schema            `json:"items,omitempty"`
	Enum       []any              `json:"enum,omitempty"`
	Pattern    string             `json:"pattern,omitempty"`
	Minimum    *float64           `json:"minimum,omitempty"`
	Maximum    *float64           `json:"maximum,omitempty"`
	// ExclusiveMinimum and ExclusiveMaximum are booleans, as in OpenAPI 3.0.
	ExclusiveMinimum bool      `json:"exclusiveMinimum,omitempty"`
	ExclusiveMaximum bool      `json:"exclusiveMaximum,omitempty"`
	MinLength        *int      `json:"minLength,omitempty"`
	MaxLength        *int      `json:"maxLength,omitempty"`
	MinItems         *int      `json:"minItems,omitempty"`
	MaxItems         *int      `json:"maxItems,omitempty"`
	MinProperties    *int      `json:"minProperties,omitempty"`
	MaxProperties    *int      `json:"maxProperties,omitempty"`
	AllOf            []*Schema `json:"allOf,omitempty"`
	AnyOf            []*Schema `json:"anyOf,omitempty"`
	OneOf            []*Schema `json:"oneOf,omitempty"`
	Not              *Schema   `json:"not,omitempty"`
	// Open objects keep what they do not know.
	Open bool `json:"open,omitempty"`
	// Closed marks an object that may hold nothing, not even one of its own properties.
	Closed bool `json:"closed,omitempty"`
	// IntOrString takes an integer or a string.
	IntOrString bool `json:"intOrString,omitempty"`
	// Embedded is a whole object with its own apiVersion and kind.
	Embedded bool `json:"embedded,omitempty"`
}

// Bundle is what the generator writes for one source of kinds.
type Bundle struct {
	// Sources are the modules it was made from, for people.
	Sources []string `json:"sources"`
	// Kinds by "apiVersion kind".
	Kinds map[string]Kind `json:"kinds"`
	// Definitions are schemas by name. They are decoded when a kind needs them.
	Definitions map[string]json.RawMessage `json:"definitions"`
}

// Kind is one kind of object.
type Kind struct {
	// Definition is the name of its schema.
	Definition string `json:"definition"`
	// Scope says where it lives.
	Scope Scope `json:"scope"`
}

// Scope says where objects of a kind live.
type Scope string

// The scopes.
const (
	Namespaced Scope = "Namespaced" // in a namespace
	Cluster    Scope = "Cluster"    // in the cluster
	File       Scope = "File"       // in a file that a component or tool reads; no API knows it
)
