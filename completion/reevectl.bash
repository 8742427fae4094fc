# bash completion for reevectl: the program itself knows what may stand where.

_reevectl() {
        local words=() word i
        # bash takes "--state=ready" apart at the "=".
        for ((i = 1; i <= COMP_CWORD; i++)); do
                word=${COMP_WORDS[i]}
                if ((${#words[@]} > 0)) && [[ $word == "=" || ${COMP_WORDS[i - 1]} == "=" ]]; then
                        words[-1]+=$word
                else
                        words+=("$word")
                fi
        done
        word=${words[-1]}
        mapfile -t COMPREPLY < <("${COMP_WORDS[0]}" complete -- "${words[@]}" 2>/dev/null)
        if [[ $word == --*=* ]]; then
                COMPREPLY=("${COMPREPLY[@]#"${word%%=*}="}")
        elif [[ ${COMPREPLY[0]-} == *= ]]; then
                compopt -o nospace 2>/dev/null
        fi
}
complete -o default -F _reevectl reevectl
