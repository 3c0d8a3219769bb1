#!/usr/bin/env bash
# Everything that is to be measured on one GPU, in at most 9 minutes, from a bare checkout:
#   benchmarks/gpu.sh OUT [--wheels FOLDER] [--rehearse] [--minutes 9] [--stages training editing]
# --wheels: packages that the machine lacks, without what they need in turn. They are installed beside, into a temporary
# folder. PYTHON is the interpreter (python3), JAX_COMPILATION_CACHE_DIR the cache of compiled programs (OUT/cache).
set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=${1:?"usage: benchmarks/gpu.sh OUT [--wheels FOLDER] [--rehearse] [--minutes 9] [--stages NAME ...]"}
shift
mkdir -p "$out"
out=$(cd "$out" && pwd)
python=$(command -v -- "${PYTHON:-python3}")
[[ $python == /* ]] || python=$PWD/$python
started=$SECONDS
arguments=()
wheels=
while (($#)); do
    case $1 in
    --wheels) wheels=$2 && shift 2 ;;
    *) arguments+=("$1") && shift ;;
    esac
done
export PYTHONPATH=$checkout${PYTHONPATH:+:$PYTHONPATH}
if [[ -n $wheels ]]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl
    export PYTHONPATH=$site:$PYTHONPATH
fi
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$out/cache}
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$JAX_COMPILATION_CACHE_DIR/inductor}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.2
export XLA_PYTHON_CLIENT_PREALLOCATE=false # PyTorch needs room beside us
export PYTHONUNBUFFERED=1
if [[ " ${arguments[*]-} " == *" --rehearse "* ]]; then
    export JAX_PLATFORMS=cpu JAX_DISABLE_MOST_OPTIMIZATIONS=true
    export XLA_FLAGS="--xla_cpu_parallel_codegen_split_count=1 ${XLA_FLAGS:-}"
fi
cd "$checkout"
echo "ready after $((SECONDS - started)) s"
"$python" -m benchmarks.gpu "$out" ${arguments[@]+"${arguments[@]}"}
