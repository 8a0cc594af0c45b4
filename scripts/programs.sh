# Sourced by the scripts that run programs of others against Gatehouse. They define `prepare DIR`, which installs the
# programs into DIR.

# run_programs VARIABLE TESTS [run | prepare DIR] runs the tests of cmd/gatehouse with the name TESTS, with VARIABLE=DIR
# as their environment, or only installs the programs.
run_programs() {
	local variable=$1 tests=$2 tools
	case ${3:-run} in
	prepare)
		prepare "$4"
		;;
	run)
		tools=$(scripts/setup.sh)
		eval "$tools"
		programs=$(mktemp -d)
		trap 'rm -rf "$programs"' EXIT
		prepare "$programs"
		env "$variable=$programs" CI=true go test -count=1 -v -run "$tests" ./cmd/gatehouse
		;;
	*)
		echo "usage: ${0##*/} [run | prepare DIR]" >&2
		exit 2
		;;
	esac
}
