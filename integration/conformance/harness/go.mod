module hearth/conformance/harness

go 1.21
