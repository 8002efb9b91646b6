"""Where sentences end, in many languages: `|` stands behind each end, and nowhere else is one to be found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.inference.result import Result, Segment
from dragoman.subtitles.cues import cues
from dragoman.subtitles.line_breaking import Break, words
from dragoman.text.languages import LANGUAGES
from dragoman.text.sentences import sentence_ends

ABBREVIATIONS = """
eng Then Sgt. Miller came in.| He sat down.|
eng She lives at No. 12 Baker Street.| I don't.|
eng Dr. Smith, Mrs. Jones and Prof. Brown met Gen. Lee and Col. Mustard.|
eng J. R. R. Tolkien wrote it.| I read it.|
eng The U.S. Senate voted at 5 p.m. Monday.|
eng It costs approx. 20 dollars and weighs 5 lbs. 3 oz. or so.|
eng See vol. 2, ch. 4, fig. 3 and p. 12 for details.|
eng Real Madrid vs. Barcelona was on Jan. 3 at home.|
eng We bought apples, pears, etc. and 3.5 litres of milk.|
eng The 5th Inf. Div. left on Wed. Nov. 5.| Fine.|
deu Es kommt Fam. Huber.| Toll.|
por Ele mora na av. Paulista 12, apto. 3.| Sim.|
deu Das kostet 3,5 Mio. Euro.| Das ist viel.|
deu Er kommt z. B. aus Berlin, u.a. mit Hr. Müller bzw. Fr. Schmidt.|
deu Siehe S. 12, Kap. 3 und Abb. 5 in Bd. 2, lt. Verlag Nr. 7.|
deu Am 3. Oktober ist Feiertag.| Am 4. Mai nicht.|
deu Er wohnt in der Hauptstr. 12 in St. Gallen.|
deu Es gab 2 Mrd. Euro mehr, d. h. viel.|
fra Cela fait env. 1 200 personnes.| C'est beaucoup.|
fra M. Dupont et le Dr. Martin parlent, p. ex. de fruits.|
fra Voir p. 12, chap. 3 et fig. 3, tél. 01 23 45.|
fra C'était le 3 janv. 2020, et av. J.-C. aussi.|
nld Dhr. Jansen woont o.a. in Utrecht, bijv. Amsterdam.|
nld Het kost ca. 3 mln. Euro, zie blz. 12 en nr. 5.|
spa El Sr. García y la Dra. Ruiz viven en EE. UU. desde 2010.|
spa Ver pág. 12 y art. 5, son aprox. 20 personas.|
ita Il sig. Rossi, il dott. Verdi e la sig.ra Bianchi parlano.|
ita Vedi pag. 12, fig. 3 e l'art. 5, ca. 20 persone.|
por O Sr. Silva e o Dr. Souza leram a pág. 12 e o cap. 3.|
rus Это стоит 3,5 млн. рублей, т. е. много.| Да.|
rus А. С. Пушкин жил на ул. Ленина, стр. 5, рис. 3.|
rus Он родился в 1990 г. в Москве.| Он там живёт.|
ukr Див. стор. 12 і мал. 3.| Він народився в 1990 р. у Києві.|
pol Dr. Nowak mieszka przy ul. Długiej, zob. str. 12 i rys. 3.|
ces Pan Ing. Novák a Mgr. Svoboda přišli, viz str. 12.|
slk Napr. Bratislava je veľká.| Áno.|
hrv Npr. Zagreb je velik.| Da.|
slv Npr. Ljubljana je velika, gl. str. 12.|
swe Se s. 12 och nr. 5, det kostar ca. 20 kronor.|
dan Hr. Jensen og fr. Hansen kom, f.eks. til København.|
nob Det er f.eks. Oslo.| Ja.|
fin Se maksaa n. 20 euroa.| Se on vähän.|
tur Dr. Yılmaz ve Prof. Demir geldi, bkz. sayfa 12.|
ron Dl. Popescu locuiește la nr. 5, vezi pag. 12.|
ell Ο κ. Παπαδόπουλος ήρθε, βλ. σελ. 12 και π.χ. Αθήνα.|
cat El Sr. Puig i la Sra. Vila van venir.| Van parlar.|
ind Prof. Dr. Habibie datang, lihat hlm. 12 dan No. 5.|
vie TP. Hồ Chí Minh rất lớn.| TS. Nguyễn đến.|
swh Bw. Juma alikuja.| Alisema.|
tgl Si Gng. Reyes at G. Santos ay dumating.| Nagsalita sila.|
lit Pvz. Vilnius yra didelis.| Taip.|
eng Mme. Curie won twice.| She was great.|
eng The firm Acme Inc. Boston grew.| It sold.|
eng Rev. Jackson and Hon. Judge Lee met Sen. Warren and Rep. Ryan.| They spoke.|
eng Lt. Col. Baker and Capt. Ahab left Ft. Worth and Mt. Everest.| They went on.|
eng Acme Corp. Chairman Smith and Widgets Ltd. London agreed.| Good.|
eng He lives on Park Ave. North, near Main St. Station.| It rains.|
eng On Sept. 11 and Feb. 3 and Tues. Morning we met.| Then he left.|
eng Gov. Brown and Supt. Hall met Pres. Obama and Atty. Lewis.| They talked.|
eng Est. 1850, pop. 2000, tel. 555, ext. 12, fig. 3.| Call us.|
eng Messrs. Smith and Jones and Ph.D. Student Amy came.| Hello.|
deu Das ist inkl. MwSt. und exkl. Versand.| Gut.|
deu Zzgl. MwSt. kostet es ca. 3 Mio. Euro.| Das ist viel.|
deu Frau Prof. Müller und Dipl.-Ing. Schmidt, geb. Meier, kamen.| Sie gingen.|
deu Die Fa. Siemens, vertr. Herrn Kühn, Tel. 123, zahlte.| Gut.|
deu Evtl. Fragen, ggf. Hinweise, insb. Fehler, sowie etw. Anderes.| Danke.|
deu Im Jan. 2020, Febr. 2021, Aug. 2022 und Dez. 2023 war es kalt.| Ja.|
deu Er starb ca. 300 v. Chr. in Rom, gest. 12 n. Chr. dort.| Ja.|
deu Das kostet 5 Tsd. Euro zzgl. Steuern.| Ja.|
deu Bundeskanzlerin a. D. Merkel sprach mit Reg. Bez. Leitern.| Sie ging.|
fra Mme. Durand est là.| Elle parle.|
fra Mlle. Petit et MM. Dupont et Durand arrivent.| Ils parlent.|
fra Me. Dupond et le Pr. Martin, de la Sté. Générale.| Ils rient.|
fra Le bd. Voltaire et l'av. Foch, la pl. Bellecour.| C'est loin.|
fra Env. 3 000 hab. par km, réf. 12, n. 5, vol. 3, éd. Gallimard.| Oui.|
fra Le 5 févr. 2020, le 6 sept. 2021, le 7 oct. 2022, le 8 déc. 2023.| Oui.|
fra St. Denis et Ste. Anne, c.-à-d. Paris.| Oui.|
fra Cf. Molière, ibid. Racine, op. cit. Hugo.| Oui.|
spa La Sra. López y el Srta. Gómez con Ud. y Uds. Juan.| Hablan.|
spa D. Juan y Dña. María viven en la Avda. Libertad, núm. 5.| Sí.|
spa El Gral. Franco, el Cnel. Pérez y el Lic. Soto.| Sí.|
spa El Ing. Ruiz, la Arq. Díaz y la Profa. León llegaron.| Sí.|
spa Véase cap. 3, vol. 2, ed. Planeta, tel. 91, apdo. 12.| Fin.|
spa Vive en la C. Mayor y nació el 3 ene. 2000, el 4 dic. 2001.| Sí.|
spa La empresa Acme S.A. de C.V. Monterrey y Cía. Minera.| Sí.|
ita Il Sig. Rossi e l'Avv. Bianchi, l'Ing. Neri e il Rag. Fantozzi.| Sì.|
ita La Dott.ssa Verdi e il Prof. Gallo, l'On. Moro, il Gen. Dalla.| Sì.|
ita P.za Navona, V.le Europa, C.so Italia, tel. 06, ecc. 3.| Sì.|
ita S. Pietro e S.p.A. Fiat, art. 3, par. 2, cap. 5, vol. 1.| Sì.|
ita Il 3 genn. 2000, il 4 febb. 2001, il 5 sett. 2002.| Sì.|
ita Egr. Sig. Rossi, Gent.ma Sig.ra Verdi, Spett. Ditta Neri.| Sì.|
por A Sra. Costa, a Dra. Lima e o Eng. Reis moram na Av. Paulista.| Sim.|
por A Profa. Ana, o Gen. Gomes e o Exmo. Senhor.| Sim.|
por R. Augusta, n. 5, tel. 11, séc. 19, vol. 2, ed. 3.| Sim.|
por Cia. Vale Ltda. Brasil e Acme S.A. Lisboa.| Sim.|
por Em 3 jan. 2000, 4 fev. 2001, 5 dez. 2002.| Sim.|
nld Mevr. Bakker en mw. Visser, drs. De Vries, ir. Smit en mr. Jansen.| Ja.|
nld Incl. BTW en excl. Verzending, m.b.t. Nederland.| Ja.|
nld Zie hfst. 3, art. 5, afb. 2, tel. 020, jl. Maandag.| Ja.|
nld Prof. Dr. Bos, burg. Aboutaleb en sr. Peters.| Ja.|
nld Op 3 jan. 2000, 4 febr. 2001, 5 okt. 2002, 6 dec. 2003.| Ja.|
rus В 1990 г. Москва росла, напр. Арбат.| Да.|
rus Это 5 тыс. рублей и 3 млрд. долларов.| Да.|
rus Проф. Иванов, акад. Сахаров и гр. Петров, д. 5, кв. 12.| Да.|
rus См. гл. 3, т. 2, с. 12, табл. 4, ст. 5, п. 6.| Да.|
rus В сент. 2000 и дек. 2001, и др. Города.| Да.|
pol Prof. Kowalski, inż. Nowak, mgr. Lis, gen. Anders i ks. Popiełuszko.| Tak.|
ces Např. Praha, tj. Česko, tzv. Letná, resp. Brno, cca. 5 lidí.| Ano.|
ces Prof. Novák, doc. Malý, MUDr. Černý, JUDr. Bílý, ul. Dlouhá, č. 5.| Ano.|
swe T.ex. Stockholm, bl.a. Malmö, dvs. Sverige, jfr. Norge, kap. 3, ca. 5.| Ja.|
swe Dr. Berg, prof. Ek, kl. 12, tel. 08, st. Petersburg, resp. Lund.| Ja.|
tur Doç. Kaya, Av. Yıldız, Sn. Demir, Alb. Koç, Cad. 5, Sok. 3, No. 2.| Evet.|
tur Örn. İstanbul, vb. Şehirler, vs. Ankara, s. 12, c. 3, M.Ö. 300.| Evet.|
ukr Проф. Шевченко, вул. Хрещатик, буд. 5, кв. 3, тис. Гривень, млрд. Доларів.| Так.|
ukr Напр. Київ, ім. Франка, обл. Львівська, ред. Іванов, див. с. 12.| Так.|
ell Η κα. Μαρία, ο κος. Γιάννης, ο Δρ. Νίκος, ο Καθ. Πέτρος, λεωφ. Κηφισίας, αρ. 5.| Ναι.|
ell Πρβλ. Όμηρος, δηλ. Ελλάδα, π.Χ. 300, μ.μ. Τρίτη, τηλ. 210.| Ναι.|
dan Bl.a. Danmark, dvs. København, kl. 12, ca. 5, mio. Kroner, nr. 3, stk. 5.| Ja.|
dan Fru. Jensen, prof. Bohr, cand. Hansen, skt. Peter, jf. Norge.| Ja.|
fin Esim. Helsinki, mm. Suomi, ks. Tampere, prof. Virtanen, puh. 09, nro. 5.| Joo.|
hun Pl. Budapest, ill. Szeged, ún. Város, Dr. Nagy, ifj. Kiss, özv. Tóth, u. 5.| Igen.|
hun Kb. 5 ezer, stb. Aztán, szept. 3, dec. 5, főszerk. Kovács, zrt. Mol.| Igen.|
ron D-na. Ionescu, Prof. Popa, Str. Lungă, Bd. Unirii, Sf. Ioan, etc.| Da.|
ron De ex. România, cca. 5, ing. Radu, gen. Ion, dna. Maria, jud. Cluj.| Da.|
deu Siehe Abschn. 3, Anm. 4, Bsp. 5, Art. 6, Abs. 2 und Nr. 7.|
deu Der stellv. Leiter kam mit durchschn. Begabung.| Er ging.|
fra Le gén. Leclerc, op. cit. Hugo.| Oui.|
rus Это пос. Южный, обл. Тверская, р. Волга, о. Сахалин.| Да.|
pol Św. Jan, al. Jerozolimskie, godz. 12, r. 2000.| Tak.|
tha วันที่ 5 ธ.ค. 2566 เวลา 10.30 น. ราคา 5 กก. 20 บาท
lao ວັນທີ 3 ມ.ກ. 2024 ແມ່ນວັນພັກ
ara قال د. أحمد ذلك.| انظر ص. 12 من الكتاب.|
hin डॉ. शर्मा और श्री. वर्मा आए।| वे बैठे।|
ben ডা. রায় এলেন।| তিনি বসলেন।|
cmn 价格是3.5元。|Dr. 王来了。|
jpn 3.5%です。|Dr. 田中は来た。|
kor Dr. 김이 3.5 퍼센트라고 했다.| 그는 웃었다.|
"""

REAL_ENDS = """
eng No.| I don't know.| I told him no.| He got a dog.| Max is its name.|
eng We bought apples, pears, etc.| Then we left.|
eng That was in 2019.| Nobody was 20.| There were more people.| 20 of them came.|
eng Wait...| What happened?!| "Come in."| He said: "Stop!"| (It was late.)| Yes.|
eng We can't.| I saw it on DVD.| Visit example.com.| Then stop!" he said.|
deu „Komm her.“| Er kam.| »Was?«| Ja.| Sie ist da.| Es war 2019.| Max auch.|
fra Il dit : « Viens. »| Elle vint.| Il est là !| C'est l'eau.| Là-bas.| Elle-même.|
spa ¿Vienes?| ¡Claro!| No.| Quiero ir.| Sí.| Manzanas, etc.| Luego nos fuimos.|
ita È vero.| No.| Sono andato ieri.| Ecco l'acqua.| Prendila.|
nld Dat zijn auto's.| Mooi toch.| Dat was in 2019.| Niemand wist het.|
rus Он сказал: «Иди».| Она пошла.| Нет.| Это было в 2019 году.| Да.|
ces Je to na prst.| To je krk.| Byla to smrt.| Ano.|
vie Em chào anh ạ.| Mời anh.|
ell Ήρθες;| Ναι.| Πάμε.|
kor 네.| 가요.| 정말요?| 응.|
ara كيف حالك؟| أنا بخير.| شكرا.|
urd وہ آیا۔| وہ بیٹھا۔|
mar ते आले.| ते बसले.|
hin वह आया.| वह बैठा.|
amh መጣ።| ተቀመጠ።|
hye Նա եկավ։| Նա նստեց։|
khm គាត់មក។| គាត់អង្គុយ។|
mya သူလာသည်။| ထိုင်သည်။|
cmn 他来了。|什么？|没有！|他说：“来吧。”|
jpn 彼は来た。|本当ですか？|はい。|
eng We sat in.| Look at the sun.| He has a pro.| This is the best.| It was my bro.| We saw the pop.| He left.|
eng He loves France.| The rhythm.| It is capitalism.| She did it with him.| I saw the sign.| A kiln.| Go.|
deu Das ist gut.| Er kam an.| Sie ging mit.| Es ist rot.| Ich mag Tee.| Sie ist in Not.| Er hat Mut.| Ein Film.|
deu Er ist froh.| Er ist so schön.| Das ist der Lohn.| Ich ziehe um.| Wie geht es ihm.| Er kennt Karl.|
fra Elle est en mer.| Il va au bal.| C'est un as.| Il a un don.| On le voit.| Je sais.| Il a vu.| Il a mal.| Il est né.|
spa Es el sol.| Vive al sur.| Es así.| Es mi voz.| Tiene una red.| No está.| Es él.| Es un robot.| Voy al club.|
ita È qui.| È il tuo.| Sono tre.| È così.| Va bene.| È un film.| Prendo il bus.| Sono stanco.|
por É o sol.| Não sei.| Tem fé.| É um cão.| Está bem.| Já vou.| É meu.| Ele vem.|
rus Он там.| Она тут.| Это мой дом.| Он спит.| Это лес.| Мы идем.| Он сам.| Это мост.|
pol To jest dom.| Idę tam.| Nie wiem.| On śpi.| To mój syn.| Mam psa.| Tak jest.|
ces To je dům.| Mám čas.| Nevím.| To je náš syn.| Je to les.|
tur O geldi.| Bu ev.| Ben de.| Çok iyi.| Bu su.| Evet.|
ell Είναι εδώ.| Δεν ξέρω.| Πάμε.| Ήρθε.| Είναι φως.|
fin Hän on tuo.| Se on suu.| Hän tuli.| Se on pois.| Tulen pian.|
hun Itt van.| Ez jó.| Elment.| Ez egy ház.| Ez az út.|
ron El e aici.| E bine.| E un om.| E sus.| Nu.|
"""


def _rows(table: str) -> list[tuple[str, str]]:
    return [(row[:3], row[4:]) for row in table.strip().splitlines()]


@pytest.mark.parametrize(("code", "marked"), [*_rows(ABBREVIATIONS), *_rows(REAL_ENDS)])
def test_sentences_end_where_they_do_and_not_after_abbreviations(code: str, marked: str) -> None:
    text = marked.replace("|", "")
    ends = sentence_ends(text, code)
    assert "".join(sign + "|" * (at in ends) for at, sign in enumerate(text, 1)) == marked


@pytest.mark.parametrize(
    ("code", "text", "kept"),
    [
        ("eng", "When we had waited for the whole afternoon Sgt. Miller came in and told us at last.", "Sgt. Miller"),
        ("eng", "All of us had by then been living for years at No. 12 Baker Street in the city.", "No. 12"),
        ("deu", "Die neue Brücke über den Fluss hat am Ende 3,5 Mio. Euro gekostet und ist schmal.", "3,5 Mio. Euro"),
        ("fra", "La marche a réuni hier dans le centre env. 1 200 personnes selon la police.", "env. 1 200"),
        ("tha", "วันหยุดของเราในปีนี้ตรงกับวันที่ 5 ธ.ค. 2566 ซึ่งเป็นวันพ่อแห่งชาติ และทุกคนจะได้หยุดงานอยู่บ้าน", "ธ.ค. 2566"),
    ],
)
@pytest.mark.parametrize("lasts_s", [5.0, 8.0, 12.0])
def test_no_cue_or_line_ends_within_an_abbreviated_name_date_or_number(
    code: str, text: str, kept: str, lasts_s: float
) -> None:
    shown = cues(Result("a", (), [Segment(0.0, lasts_s, code, text, {}, 0.0)]), [code])
    assert len(shown) + sum(cue.text.count("\n") for cue in shown) > 1
    assert sum(kept in cue.text for cue in shown) == 1


def test_a_decimal_is_one_word_where_words_have_no_spaces() -> None:
    assert "3.5" in " ".join(word.text for word in words("价格是3.5元。", "cmn", 8))
    assert "1,000" in " ".join(word.text for word in words("有1,000人。", "cmn", 8))


def test_what_follows_an_abbreviation_is_parted_from_it_last() -> None:
    found = [word.ends for word in words("See Sgt. Miller, now.", "eng", 42)]
    assert found == [Break.WORD, Break.ABBREVIATION, Break.CLAUSE, Break.SENTENCE]


@settings(max_examples=200)
@given(
    st.text(st.characters() | st.sampled_from('.!?。।"”» \ud800aA1'), max_size=60), st.sampled_from(sorted(LANGUAGES))
)
def test_any_text_of_any_language_has_ends_within_it(text: str, code: str) -> None:
    """Lone surrogates and languages that no list knows included; none is within a word of Latin letters."""
    for end in sentence_ends(text, code):
        assert 0 < end <= len(text)
        assert not text[end - 1].isalnum()
