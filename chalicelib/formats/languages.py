"""Languages: from the codes of containers (ISO 639-2) to the tags of playlists (BCP 47)."""

from __future__ import annotations

import re

UNKNOWN = "und"

# BCP 47 takes the code of two letters where a language has one (RFC 5646, 2.2.1). ISO 639-2 has two codes of
# three letters for some languages. From IANA's registry.
_CODES = """
    aar:aa abk:ab afr:af aka:ak alb:sq amh:am ara:ar arg:an arm:hy asm:as ava:av ave:ae aym:ay
    aze:az bak:ba bam:bm baq:eu bel:be ben:bn bih:bh bis:bi bod:bo bos:bs bre:br bul:bg bur:my
    cat:ca ces:cs cha:ch che:ce chi:zh chu:cu chv:cv cor:kw cos:co cre:cr cym:cy cze:cs dan:da
    deu:de div:dv dut:nl dzo:dz ell:el eng:en epo:eo est:et eus:eu ewe:ee fao:fo fas:fa fij:fj
    fin:fi fra:fr fre:fr fry:fy ful:ff geo:ka ger:de gla:gd gle:ga glg:gl glv:gv gre:el grn:gn
    guj:gu hat:ht hau:ha heb:he her:hz hin:hi hmo:ho hrv:hr hun:hu hye:hy ibo:ig ice:is ido:io
    iii:ii iku:iu ile:ie ina:ia ind:id ipk:ik isl:is ita:it jav:jv jpn:ja kal:kl kan:kn kas:ks
    kat:ka kau:kr kaz:kk khm:km kik:ki kin:rw kir:ky kom:kv kon:kg kor:ko kua:kj kur:ku lao:lo
    lat:la lav:lv lim:li lin:ln lit:lt ltz:lb lub:lu lug:lg mac:mk mah:mh mal:ml mao:mi mar:mr
    may:ms mkd:mk mlg:mg mlt:mt mol:ro mon:mn mri:mi msa:ms mya:my nau:na nav:nv nbl:nr nde:nd
    ndo:ng nep:ne nld:nl nno:nn nob:nb nor:no nya:ny oci:oc oji:oj ori:or orm:om oss:os pan:pa
    per:fa pli:pi pol:pl por:pt pus:ps que:qu roh:rm ron:ro rum:ro run:rn rus:ru sag:sg san:sa
    scc:sr scr:hr sin:si slk:sk slo:sk slv:sl sme:se smo:sm sna:sn snd:sd som:so sot:st spa:es
    sqi:sq srd:sc srp:sr ssw:ss sun:su swa:sw swe:sv tah:ty tam:ta tat:tt tel:te tgk:tg tha:th
    tib:bo tir:ti ton:to tsn:tn tso:ts tuk:tk tur:tr twi:tw uig:ug ukr:uk urd:ur uzb:uz ven:ve
    vie:vi vol:vo wel:cy wln:wa wol:wo xho:xh yid:yi yor:yo zha:za zho:zh zul:zu
"""
_SHORT = dict(pair.split(":") for pair in _CODES.split())

# How languages call themselves: what players show must be in the language itself (RFC 8216, 4.3.4.1).
_OWN_NAMES = """
    ar:العربية bg:Български bn:বাংলা bs:Bosanski ca:Català cs:Čeština cy:Cymraeg da:Dansk de:Deutsch
    el:Ελληνικά en:English es:Español et:Eesti eu:Euskara fa:فارسی fi:Suomi fr:Français ga:Gaeilge
    gl:Galego gu:ગુજરાતી he:עברית hi:हिन्दी hr:Hrvatski hu:Magyar hy:Հայերեն id:Indonesia is:Íslenska
    it:Italiano ja:日本語 ka:ქართული kk:Қазақша kn:ಕನ್ನಡ ko:한국어 lt:Lietuvių lv:Latviešu mk:Македонски
    ml:മലയാളം mr:मराठी ms:Melayu nb:Norsk nl:Nederlands nn:Nynorsk no:Norsk pa:ਪੰਜਾਬੀ pl:Polski
    pt:Português ro:Română ru:Русский sk:Slovenčina sl:Slovenščina sq:Shqip sr:Српски sv:Svenska
    sw:Kiswahili ta:தமிழ் te:తెలుగు th:ไทย tl:Tagalog tr:Türkçe uk:Українська ur:اردو vi:Việt zh:中文
"""
_NAMES = dict(pair.split(":") for pair in _OWN_NAMES.split())
# Language, script, region and variants (RFC 5646, 2.1): no extensions, nothing private.
TAG = r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?(-([A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3})){0,2}"


def tag_of(named: str | None) -> str:
    """The tag of a language that a file names; UNKNOWN where it names none, or not by such a code."""
    code = re.match("[a-z]{2,3}(?![a-z0-9])", (named or "").lower())
    return _SHORT.get(code[0], code[0]) if code else UNKNOWN


def canonical(tag: str) -> str | None:
    """A tag in its usual letters: "pt-BR" of "por-br"; None where it is none of BCP 47 (RFC 5646, 2.1.1)."""
    if not re.fullmatch(TAG, tag):
        return None
    code, *others = tag.lower().split("-")
    cased = (_CASES.get(len(part), str.lower)(part) for part in others)
    return "-".join((_SHORT.get(code, code), *cased))


_CASES = {2: str.upper, 4: str.title}  # of regions, and of scripts


def name_of(tag: str) -> str:
    """How a language calls itself, as a viewer is shown it: "Português (BR)"; else its tag."""
    code, _, more = tag.partition("-")
    name = _NAMES.get(code, code)
    return f"{name} ({more})" if more else name
