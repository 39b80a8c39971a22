package v2

import (
	"os"
	"strings"
	"testing"

	_ "github.com/containerd/containerd/api/services/containers/v1"
	_ "github.com/containerd/containerd/api/services/content/v1"
	_ "github.com/containerd/containerd/api/services/diff/v1"
	_ "github.com/containerd/containerd/api/services/images/v1"
	_ "github.com/containerd/containerd/api/services/introspection/v1"
	_ "github.com/containerd/containerd/api/services/leases/v1"
	_ "github.com/containerd/containerd/api/services/namespaces/v1"
	_ "github.com/containerd/containerd/api/services/snapshots/v1"
	_ "github.com/containerd/containerd/api/services/tasks/v1"
	_ "github.com/containerd/containerd/api/services/version/v1"
	_ "github.com/containerd/containerd/api/types/task"
	_ "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"hearth/conformance/harness"
)

// What we serve must be whole; of what we only call, the part that we use is enough.
var served = []protoreflect.FullName{
	"containerd.services.content.v1.Content",
	"containerd.services.diff.v1.Diff",
	"containerd.services.snapshots.v1.Snapshots",
}

func ourFiles(t *testing.T) *protoregistry.Files {
	t.Helper()
	bytes, err := os.ReadFile(harness.Built("generated/containerd_proto.descriptors"))
	if err != nil {
		t.Fatalf("%v (run make build)", err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(bytes, &set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func theirs[D protoreflect.Descriptor](t *testing.T, name protoreflect.FullName) (D, bool) {
	t.Helper()
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	var none D
	if err != nil {
		t.Errorf("%s: containerd has no such thing: %v", name, err)
		return none, false
	}
	descriptor, ok := found.(D)
	if !ok {
		t.Errorf("%s is something else in containerd: %T", name, found)
	}
	return descriptor, ok
}

func typeOf(field protoreflect.FieldDescriptor) protoreflect.FullName {
	switch {
	case field.Message() != nil:
		return field.Message().FullName()
	case field.Enum() != nil:
		return field.Enum().FullName()
	}
	return ""
}

func compareField(t *testing.T, our, their protoreflect.FieldDescriptor) {
	t.Helper()
	if our.Number() != their.Number() || our.Kind() != their.Kind() || our.Cardinality() != their.Cardinality() ||
		our.HasPresence() != their.HasPresence() || our.IsMap() != their.IsMap() || typeOf(our) != typeOf(their) {
		t.Errorf("%s: ours is %v = %d (%v %s), containerd's %v = %d (%v %s)", our.FullName(),
			our.Kind(), our.Number(), our.Cardinality(), typeOf(our),
			their.Kind(), their.Number(), their.Cardinality(), typeOf(their))
	}
}

func compareMessage(t *testing.T, our protoreflect.MessageDescriptor) int {
	t.Helper()
	their, ok := theirs[protoreflect.MessageDescriptor](t, our.FullName())
	if !ok {
		return 0
	}
	for i := 0; i < our.Fields().Len(); i++ {
		field := our.Fields().Get(i)
		if found := their.Fields().ByName(field.Name()); found == nil {
			t.Errorf("%s: containerd has no such field", field.FullName())
		} else {
			compareField(t, field, found)
		}
	}
	for i := 0; i < our.Enums().Len(); i++ {
		compareEnum(t, our.Enums().Get(i))
	}
	return our.Fields().Len()
}

func compareEnum(t *testing.T, our protoreflect.EnumDescriptor) {
	t.Helper()
	their, ok := theirs[protoreflect.EnumDescriptor](t, our.FullName())
	if !ok {
		return
	}
	if our.Values().Len() != their.Values().Len() {
		t.Errorf("%s: %d values, containerd has %d", our.FullName(), our.Values().Len(), their.Values().Len())
	}
	for i := 0; i < our.Values().Len(); i++ {
		value := our.Values().Get(i)
		if found := their.Values().ByName(value.Name()); found == nil || found.Number() != value.Number() {
			t.Errorf("%s = %d: containerd has %v", value.FullName(), value.Number(), found)
		}
	}
}

func compareService(t *testing.T, our protoreflect.ServiceDescriptor) {
	t.Helper()
	their, ok := theirs[protoreflect.ServiceDescriptor](t, our.FullName())
	if !ok {
		return
	}
	for i := 0; i < our.Methods().Len(); i++ {
		method := our.Methods().Get(i)
		found := their.Methods().ByName(method.Name())
		if found == nil {
			t.Errorf("%s: containerd has no such method", method.FullName())
			continue
		}
		if method.Input().FullName() != found.Input().FullName() || method.Output().FullName() != found.Output().FullName() ||
			method.IsStreamingClient() != found.IsStreamingClient() || method.IsStreamingServer() != found.IsStreamingServer() {
			t.Errorf("%s differs from containerd's", method.FullName())
		}
	}
}

// TestOurDescriptorsAreContainerds: names, numbers, types and streaming of all that we wrote down.
func TestOurDescriptorsAreContainerds(t *testing.T) {
	fields, services := 0, 0
	ourFiles(t).RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if strings.HasPrefix(string(file.Package()), "google.protobuf") {
			return true
		}
		for i := 0; i < file.Messages().Len(); i++ {
			fields += compareMessage(t, file.Messages().Get(i))
		}
		for i := 0; i < file.Enums().Len(); i++ {
			compareEnum(t, file.Enums().Get(i))
		}
		for i := 0; i < file.Services().Len(); i++ {
			compareService(t, file.Services().Get(i))
			services++
		}
		return true
	})
	if fields < 150 || services < 9 {
		t.Errorf("only %d fields and %d services were compared", fields, services)
	}
}

func missing(t *testing.T, ours *protoregistry.Files, their protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) {
	t.Helper()
	if seen[their.FullName()] {
		return
	}
	seen[their.FullName()] = true
	found, err := ours.FindDescriptorByName(their.FullName())
	if err != nil {
		t.Errorf("%s is missing", their.FullName())
		return
	}
	our := found.(protoreflect.MessageDescriptor)
	for i := 0; i < their.Fields().Len(); i++ {
		field := their.Fields().Get(i)
		if our.Fields().ByNumber(field.Number()) == nil {
			t.Errorf("%s is missing", field.FullName())
		}
		if field.Message() != nil {
			missing(t, ours, field.Message(), seen)
		}
	}
}

// TestServedServicesAreWhole: containerd may send any field and call any method of these.
func TestServedServicesAreWhole(t *testing.T) {
	ours := ourFiles(t)
	seen := map[protoreflect.FullName]bool{}
	for _, name := range served {
		their, ok := theirs[protoreflect.ServiceDescriptor](t, name)
		if !ok {
			continue
		}
		for i := 0; i < their.Methods().Len(); i++ {
			method := their.Methods().Get(i)
			if _, err := ours.FindDescriptorByName(method.FullName()); err != nil {
				t.Errorf("%s is missing", method.FullName())
			}
			missing(t, ours, method.Input(), seen)
			missing(t, ours, method.Output(), seen)
		}
	}
	if len(seen) < 30 {
		t.Errorf("only %d messages were looked at", len(seen))
	}
}
